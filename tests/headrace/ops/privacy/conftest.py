"""The parts that hold what users did, with Headrace's schema."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from analytics.clickhouse import ClickHouse
from streams.redis.connection import connect
from tests.databases import fresh_database
from tests.headrace.ops.privacy.world import World


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client; tests use tenants of their own."""
    client = connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """A connection to a fresh database with the whole schema."""
    async with fresh_database(clickhouse_url, "privacy") as (_, connection):
        yield connection


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return f"t-{uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the end of a mutation more often than in service: these are over within milliseconds."""
    monkeypatch.setattr("analytics.erasure.row_eraser._POLL_S", 0.02)


@pytest.fixture
async def world(
    kafka_bootstrap: str, clickhouse: ClickHouse, redis: Redis, tenant: str
) -> AsyncIterator[World]:
    world = World(kafka_bootstrap, clickhouse, redis, tenant)
    async with world.publisher, aclosing(world.feed):
        yield world

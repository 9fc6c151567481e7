"""The parts that hold what users did, with Headrace's schema."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from analytics.clickhouse import ClickHouse
from analytics.schema import SchemaRunner, create_database, load_migrations
from streams.store import connect


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client; tests use tenants of their own."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """A connection to a fresh database with the whole schema."""
    name = f"test_{uuid4().hex[:12]}"
    server = ClickHouse(clickhouse_url, database=None, timeout_s=30)
    await create_database(server, name)
    connection = ClickHouse(clickhouse_url, database=name, timeout_s=30)
    await SchemaRunner(connection, load_migrations()).apply()
    yield connection
    await connection.close()
    await server.execute(f"DROP DATABASE {name} SYNC")
    await server.close()


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return f"t-{uuid4().hex[:8]}"

"""A database of its own for each test, on the run's ClickHouse; and the run's broker."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from analytics.clickhouse import ClickHouse
from analytics.schema.migrate import create_database
from streams.errors import ClickHouseUnavailable
from streams.kafka.topic_admin import create_topics
from tests.analytics.broker import Broker
from tests.databases import fresh_database


@pytest.fixture
async def server(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """A connection to the server, in no database of ours."""
    connection = ClickHouse(clickhouse_url, database=None, timeout_s=30)
    yield connection
    await connection.close()


@pytest.fixture
async def broker(kafka_bootstrap: str) -> AsyncIterator[Broker]:
    """The run's broker, and a connection that asks it."""
    broker = Broker(kafka_bootstrap)
    # The first group ever makes the broker create the topic of all groups' offsets, which takes a moment.
    await broker.commit("a-group", await broker.topic("first"), 0, 0)
    yield broker
    await broker.inspector.close()


@pytest.fixture
async def database(server: ClickHouse) -> AsyncIterator[str]:
    """The name of a fresh and empty database."""
    name = f"test_{uuid4().hex[:12]}"
    await create_database(server, name)
    yield name
    async with asyncio.timeout(30):
        while not await _dropped(server, name):
            await asyncio.sleep(0.1)


async def _dropped(server: ClickHouse, name: str) -> bool:
    """Drop a database; False while a statement of a process that was killed still makes tables in it."""
    try:
        await server.execute(f"DROP DATABASE IF EXISTS {name} SYNC")
    except ClickHouseUnavailable as fault:
        if "DATABASE_NOT_EMPTY" not in str(fault):
            raise
        return False
    return True


@pytest.fixture
async def empty(clickhouse_url: str, database: str) -> AsyncIterator[ClickHouse]:
    """A connection to the fresh database, before any migration."""
    connection = ClickHouse(clickhouse_url, database=database, timeout_s=30)
    yield connection
    await connection.close()


@pytest.fixture
async def schema(clickhouse_url: str) -> AsyncIterator[tuple[str, ClickHouse]]:
    """A database with the whole schema and no rows: its name, and a connection to it."""
    async with fresh_database(clickhouse_url, "test") as made:
        yield made


@pytest.fixture
def clickhouse(schema: tuple[str, ClickHouse]) -> ClickHouse:
    """A connection to a database with the whole schema."""
    return schema[1]


@pytest.fixture
def schema_database(schema: tuple[str, ClickHouse]) -> str:
    """The name of the database that `clickhouse` is connected to."""
    return schema[0]


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """For records on the real topics."""
    await create_topics(kafka_bootstrap, partitions=4, replication=1)
    connected = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, linger_ms=5)
    await connected.start()
    yield connected
    await connected.stop()

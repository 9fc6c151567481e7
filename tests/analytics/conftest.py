"""A database of its own for each test, on the run's ClickHouse."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from analytics.clickhouse import ClickHouse
from analytics.schema import SchemaRunner, create_database, load_migrations


@pytest.fixture
async def server(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """A connection to the server, in no database of ours."""
    connection = ClickHouse(clickhouse_url, database=None, timeout_s=30)
    yield connection
    await connection.close()


@pytest.fixture
async def database(server: ClickHouse) -> AsyncIterator[str]:
    """The name of a fresh and empty database."""
    name = f"test_{uuid4().hex[:12]}"
    await create_database(server, name)
    yield name
    await server.execute(f"DROP DATABASE {name} SYNC")


@pytest.fixture
async def empty(clickhouse_url: str, database: str) -> AsyncIterator[ClickHouse]:
    """A connection to the fresh database, before any migration."""
    connection = ClickHouse(clickhouse_url, database=database, timeout_s=30)
    yield connection
    await connection.close()


@pytest.fixture
async def clickhouse(empty: ClickHouse) -> ClickHouse:
    """A connection to a database with the whole schema."""
    await SchemaRunner(empty, load_migrations()).apply()
    return empty

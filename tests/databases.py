"""Databases of a test's own, with Headrace's whole schema, on the run's ClickHouse."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from analytics.schema.migrate import SchemaRunner, create_database, load_migrations

THOROUGH = int(os.environ.get("HEADRACE_TEST_THOROUGH", "1"))
"""Multiplies the examples of the property tests on ClickHouse, of which each takes seconds."""

_TIMEOUT_S = 60


class _NoLock:
    """Stands for the schema's lock, which asks ClickHouse three times a statement."""

    holder = "tests"

    async def __aenter__(self) -> Self:
        """Take nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give nothing back."""

    async def renew(self) -> None:
        """Nobody else would take it."""


class _Unshared(SchemaRunner):
    """Applies the migrations to a database that no other process knows."""

    def _lock(self) -> Any:
        return _NoLock()


async def apply_schema(connection: ClickHouse) -> None:
    """Apply every migration to a fresh database of one test, in half the time of a `SchemaRunner`."""
    await _Unshared(connection, load_migrations()).apply()


@asynccontextmanager
async def fresh_database(url: str, prefix: str) -> AsyncIterator[tuple[str, ClickHouse]]:
    """Yield the name of a fresh database and a connection to it; it is dropped at the end.

    Args:
        url: the server's.
        prefix: what its name begins with.
    """
    name = f"{prefix}_{uuid4().hex[:12]}"
    server = ClickHouse(url, database=None, timeout_s=_TIMEOUT_S)
    connection = ClickHouse(url, database=name, timeout_s=_TIMEOUT_S)
    try:
        await create_database(server, name)
        await apply_schema(connection)
        yield name, connection
    finally:
        await connection.close()
        await server.execute(f"DROP DATABASE IF EXISTS {name} SYNC")
        await server.close()


@contextmanager
def database_with(url: str, prefix: str, *statements: str) -> Iterator[str]:
    """Yield the name of a fresh database in which these were executed, for tests that have no event loop."""
    with asyncio.Runner() as runner:
        made = fresh_database(url, prefix)
        name, connection = runner.run(made.__aenter__())
        try:
            for statement in statements:
                runner.run(connection.execute(statement))
            yield name
        finally:
            runner.run(made.__aexit__(None, None, None))

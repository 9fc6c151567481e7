"""Databases of a test's own, with Headrace's whole schema, on the run's ClickHouse."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from analytics.schema.migrate import SchemaRunner, create_database, load_migrations

THOROUGH = int(os.environ.get("HEADRACE_TEST_THOROUGH", "1"))
"""Multiplies the examples of the property tests on ClickHouse, of which each takes seconds."""

_TIMEOUT_S = 60
_TABLES = """
SELECT name, create_table_query AS made_by, total_rows AS rows
FROM system.tables
WHERE database = currentDatabase()
"""
_CHANGES = "SELECT count() AS n FROM system.mutations WHERE database = currentDatabase()"

Schema = Mapping[str, str]
"""The tables and views, each with the statement that it was made by."""


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


#: By server, the databases that are free, with what their tables were made from.
_free: dict[str, list[tuple[str, Schema]]] = {}


@asynccontextmanager
async def fresh_database(url: str, prefix: str) -> AsyncIterator[tuple[str, ClickHouse]]:
    """Yield the name of a database with the schema and no rows, and a connection to it.

    Afterwards it is emptied for whoever comes next: to make one takes half a second of processor time. It is
    dropped where its tables are not as they were made, or rows were changed in place.

    Args:
        url: the server's.
        prefix: what its name begins with, if one is made.
    """
    free = _free.setdefault(url, [])
    while True:
        name, made = free.pop() if free else await _make(url, prefix)
        connection = ClickHouse(url, database=name, timeout_s=_TIMEOUT_S)
        # What the test before has left running may have written once more.
        if not any(_rows_of_tests(await connection.query(_TABLES))):
            break
        await _drop(connection, name)
        await connection.close()
    try:
        yield name, connection
    finally:
        try:
            if await _emptied(connection, made):
                free.append((name, made))
            else:
                await _drop(connection, name)
        finally:
            await connection.close()


def _rows_of_tests(tables: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the tables that have rows, but for the list of migrations."""
    return (row["name"] for row in tables if row["rows"] and row["name"] != "schema_migrations")


async def _drop(connection: ClickHouse, name: str) -> None:
    await connection.execute(f"DROP DATABASE IF EXISTS {name} SYNC")


async def _make(url: str, prefix: str) -> tuple[str, Schema]:
    name = f"{prefix}_{uuid4().hex[:12]}"
    server = ClickHouse(url, database=None, timeout_s=_TIMEOUT_S)
    await create_database(server, name)
    await server.close()
    connection = ClickHouse(url, database=name, timeout_s=_TIMEOUT_S)
    await apply_schema(connection)
    made = {row["name"]: row["made_by"] for row in await connection.query(_TABLES)}
    await connection.close()
    return name, made


async def _emptied(connection: ClickHouse, made: Schema) -> bool:
    """Take out all rows; False where more than that has changed."""
    tables = await connection.query(_TABLES)
    [changes] = await connection.query(_CHANGES)
    if {row["name"]: row["made_by"] for row in tables} != made or changes["n"]:
        return False
    for table in _rows_of_tests(tables):
        await connection.execute(f"TRUNCATE TABLE {table} SYNC")
    return True


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

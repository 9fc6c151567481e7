"""A ClickHouse with a few requests, for commands that read."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from analytics.schema import SchemaRunner, create_database, load_migrations

_INSERT = """
INSERT INTO requests_raw
    (request_id, tenant, user_id, accepted_at, status, model, input_tokens, cost_usd, latency_ms, ingested_at)
VALUES
    ('1', 'acme', 'ada', '2026-01-01 10:00:00.25', 'answered', 'gpt-4o', 10, 0.100000001, 12.5, now64(6)),
    ('2', 'acme', 'bob', '2026-01-01 11:00:00', 'answered', 'gpt-4o-mini', 20, 0.2, 1500.75, now64(6)),
    ('3', 'zeta', 'eve\x1b[2J', '2026-01-02 00:00:00', 'failed', '', 0, 0, 1, now64(6))
"""


@contextmanager
def stored_requests(url: str) -> Iterator[str]:
    """Yield the name of a database with three requests, every row of which came twice."""
    name = f"cli_{uuid4().hex[:8]}"
    asyncio.run(_fill(url, name))
    yield name
    asyncio.run(_drop(url, name))


async def _fill(url: str, name: str) -> None:
    server = ClickHouse(url, database=None, timeout_s=30)
    await create_database(server, name)
    await server.close()
    connection = ClickHouse(url, database=name, timeout_s=30)
    await SchemaRunner(connection, load_migrations()).apply()
    for _ in range(2):
        await connection.execute(_INSERT)
    await connection.close()


async def _drop(url: str, name: str) -> None:
    server = ClickHouse(url, database=None, timeout_s=30)
    await server.execute(f"DROP DATABASE {name} SYNC")
    await server.close()

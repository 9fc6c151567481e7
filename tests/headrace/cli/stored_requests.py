"""A ClickHouse with a few requests, for commands that read."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.databases import database_with

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
    with database_with(url, "cli", _INSERT, _INSERT) as name:
        yield name

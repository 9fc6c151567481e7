"""The cost queries on a real ClickHouse with the real schema."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from analytics.reports.catalogue import Catalogue
from ingest.admin.spend import ClickHouseSpend
from tests.databases import fresh_database

pytestmark = pytest.mark.integration

_INSERT = """
INSERT INTO requests_raw
    (request_id, tenant, user_id, accepted_at, model, input_tokens, output_tokens, cost_usd, cache_hit,
     cache_kind, ingested_at)
VALUES
    ('1', 'acme', 'ada', '2026-01-01 00:00:00', 'gpt-4o', 10, 5, 0.100000001, false, 'miss', now64(6)),
    ('2', 'acme', 'bob', '2026-01-01 00:00:00', 'gpt-4o-mini', 20, 5, 0.2, false, 'miss', now64(6)),
    ('3', 'acme', 'ada', '2026-01-01 00:00:00', 'gpt-4o', 0, 0, 0, true, 'semantic', now64(6)),
    ('4', 'acme', 'ada', '2026-01-01 00:00:00', '', 0, 0, 0, false, '', now64(6)),
    ('1', 'zeta', 'eve', '2026-01-01 00:00:00', 'gpt-4o', 9, 9, 9, false, 'miss', now64(6))
"""


@pytest.fixture
async def database(clickhouse_url: str) -> AsyncIterator[str]:
    """A database with the schema and five requests, every row of which came twice."""
    async with fresh_database(clickhouse_url, "ingest") as (name, connection):
        for _ in range(2):
            await connection.execute(_INSERT)
        yield name


async def test_costs_and_cache_statistics(clickhouse_url: str, database: str) -> None:
    """Exact under duplicates, and nothing of another tenant."""
    spend = ClickHouseSpend(clickhouse_url, Catalogue.load().bind, database=database, timeout_s=10)
    await spend.ping()
    costs = await spend.costs("acme")
    cache = await spend.cache_stats("acme")
    nobody = await spend.costs("nobody")
    await spend.close()
    assert costs == {
        "total_requests": 4,
        "total_input_tokens": 30,
        "total_output_tokens": 10,
        "total_cost_usd": Decimal("0.300000001"),
        "total_cost_usd_exact": "0.300000001",
        "avg_cost_per_request": Decimal("0.075"),
        "cache_hit_rate_pct": 25.0,
        "cost_by_model": {"gpt-4o-mini": Decimal("0.2"), "gpt-4o": Decimal("0.100000001")},
        "top_users_by_cost": {"bob": Decimal("0.2"), "ada": Decimal("0.100000001")},
    }
    assert cache == {"hits": 1, "misses": 2, "hit_rate_pct": 33.33}
    assert (nobody["total_requests"], nobody["total_cost_usd"]) == (0, 0)


async def test_when_a_request_was_accepted(clickhouse_url: str, database: str) -> None:
    """However long ago; of the tenant alone, and nothing where there is none of the id."""
    spend = ClickHouseSpend(clickhouse_url, Catalogue.load().bind, database=database, timeout_s=10)
    found = [await spend.accepted_at(*asked) for asked in (("acme", "2"), ("zeta", "2"), ("acme", "5"))]
    await spend.close()
    assert found == [datetime(2026, 1, 1, tzinfo=UTC), None, None]

"""The named queries, on known data."""

from datetime import timedelta
from decimal import Decimal

import pytest

from analytics.batches import Batch, OffsetRange
from analytics.clickhouse import ClickHouse
from analytics.reports import Reports
from analytics.status import SinkStatus
from analytics.writer import BatchWriter
from streams.events import RequestLog, Status
from streams.publisher import Publisher
from tests.analytics.logs import NOON, make_log, make_record

pytestmark = pytest.mark.integration

LOGS = [
    make_log("a-1", cost_usd=Decimal("0.1")),
    make_log("a-2", cost_usd=Decimal("0.2"), status=Status.CACHED, cache_hit=True, cache_kind="exact"),
    make_log("a-3", cost_usd=Decimal("0.000000001"), status=Status.FAILED, error="timeout"),
    make_log("a-4", model="", cost_usd=Decimal(0), status=Status.BLOCKED, cache_kind=""),
    make_log("b-1", tenant="globex", cost_usd=Decimal(5), model="claude-3-opus"),
    make_log("old", accepted_at=NOON - timedelta(days=3), cost_usd=Decimal(100)),
]


async def store(clickhouse: ClickHouse, logs: list[RequestLog]) -> None:
    writer = BatchWriter(clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus())
    for bounds in ((0, len(logs) - 1), (1, len(logs) - 1)):  # most of them twice
        records = tuple(make_record(offset, logs[offset]) for offset in range(bounds[0], bounds[1] + 1))
        await writer.write(
            Batch(topic="llm.logs.v1", partition=0, range=OffsetRange(*bounds), records=records)
        )


async def test_the_cost_summary_is_exact(clickhouse: ClickHouse) -> None:
    """By model and prompt version, of the time asked for, to the nano-dollar."""
    await store(clickhouse, LOGS)
    rows = await Reports(clickhouse).cost_summary(since=NOON - timedelta(hours=1))
    assert [(row["model"], row["requests"], row["successful"], row["cost_usd"]) for row in rows] == [
        ("claude-3-opus", 1, 1, Decimal(5)),
        ("gpt-4o", 3, 2, Decimal("0.300000001")),
        ("", 1, 0, Decimal(0)),
    ]
    assert (rows[1]["prompt_template"], rows[1]["prompt_version"]) == ("support", "3")
    assert (rows[1]["input_tokens"], rows[1]["output_tokens"]) == (360, 120)


async def test_a_tenant_sees_its_own_only(clickhouse: ClickHouse) -> None:
    """A tenant's name is a value, never SQL."""
    await store(clickhouse, LOGS)
    reports = Reports(clickhouse)
    since = NOON - timedelta(days=5)
    assert [row["model"] for row in await reports.cost_summary(since=since, tenant="globex")] == [
        "claude-3-opus"
    ]
    assert await reports.cost_summary(since=since, tenant="' OR 1 = 1 --") == []
    assert await reports.cache_stats(since=since, tenant="nobody") == []


async def test_cache_statistics_count_what_was_looked_up(clickhouse: ClickHouse) -> None:
    """Requests that never reached the cache are not in them."""
    await store(clickhouse, LOGS)
    rows = await Reports(clickhouse).cache_stats(since=NOON - timedelta(hours=1))
    assert [(row["cache_kind"], row["requests"], row["hits"]) for row in rows] == [
        ("miss", 3, 0),
        ("exact", 1, 1),
    ]
    assert rows[1]["mean_latency_ms"] == 850.25

"""What single tenants want gone sooner."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from analytics.clickhouse import ClickHouse
from analytics.erasure.retention import Retention, days_kept, first_kept
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.events import Payload
from streams.publisher import Publisher
from streams.settings import TenantRules
from tests.analytics.logs import NOON, make_log, make_record

NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rules", "text", "rows"),
    [
        (TenantRules(), None, None),
        (TenantRules(text_retention_days=7), 7, None),
        (TenantRules(retention_days=20), 20, 20),  # texts do not outlive their requests
        (TenantRules(text_retention_days=7, retention_days=90), 7, 90),
        (TenantRules(text_retention_days=30, retention_days=2), 2, 2),
    ],
)
def test_how_long_things_are_kept(rules: TenantRules, text: int | None, rows: int | None) -> None:
    """None stands for the tables' own time."""
    assert (days_kept(rules, "text"), days_kept(rules, "rows")) == (text, rows)


def test_whole_days_are_kept() -> None:
    """So that a day is deleted in one go, once."""
    assert first_kept(NOW, 7) == datetime(2026, 11, 14, tzinfo=UTC)


async def test_without_rules_nothing_is_asked() -> None:
    """The job only waits for its end."""
    retention = Retention(
        ClickHouse("http://127.0.0.1:1", database=None, timeout_s=1), {"acme": TenantRules()}
    )
    task = asyncio.create_task(retention.run())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()


@pytest.mark.integration
async def test_days_that_are_over_go(clickhouse: ClickHouse) -> None:
    """Of these tenants alone: texts after their time, and everything after all of it."""
    writer = BatchWriter(clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus())
    run = uuid4().hex
    text = Payload(request_text="q", reply_text="a")
    logs = [
        make_log(f"{tenant}-{days}", tenant=tenant, accepted_at=NOON - timedelta(days=days), payload=text)
        for tenant in ("acme", "globex", "other")
        for days in (0, 2, 5, 12)
    ]
    for number, log in enumerate(logs):
        record = (make_record(number, log),)
        await writer.write(
            SinkBatch(topic=run, partition=0, range=OffsetRange(number, number), records=record)
        )
    rules = {
        "acme": TenantRules(text_retention_days=3, retention_days=10),
        "globex": TenantRules(retention_days=5),
    }
    retention = Retention(clickhouse, rules, clock=lambda: NOON + timedelta(days=1))
    while await retention.sweep():
        pass

    async def left(table: str) -> set[str]:
        return {row["request_id"] for row in await clickhouse.query(f"SELECT request_id FROM {table}")}

    others = {f"other-{days}" for days in (0, 2, 5, 12)}
    # NOON is yesterday's: a request of so many days before it is a day older today.
    rows = {"acme-0", "acme-2", "acme-5", "globex-0", "globex-2", *others}
    assert await left("payloads_raw") == {"acme-0", "globex-0", "globex-2", "acme-2", *others}
    assert await left("requests_raw") == await left("stages_raw") == await left("llm_calls_raw") == rows
    days = await clickhouse.query(
        "SELECT count() AS n FROM system.mutations WHERE database = currentDatabase()"
    )
    assert await retention.sweep() == 0
    assert days == await clickhouse.query(
        "SELECT count() AS n FROM system.mutations WHERE database = currentDatabase()"
    )

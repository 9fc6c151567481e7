"""However log records arrive, every view is exact: against an oracle in Python, on the real engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.clickhouse import ClickHouse
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.events import RequestLog
from streams.publisher import Publisher
from tests.analytics.logs import make_log, make_record, request_logs
from tests.databases import THOROUGH

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Totals:
    """What an analyst would sum up."""

    requests: int
    cost: Decimal
    stages: int
    work_us: int
    calls: int
    call_cost: Decimal
    payloads: int


def expected(logs: Sequence[RequestLog]) -> Totals:
    """The oracle: each request once."""
    calls = [call for log in logs for call in log.calls]
    timings = [timing for log in logs for timing in log.timings]
    return Totals(
        requests=len(logs),
        cost=sum((log.cost_usd for log in logs), Decimal(0)),
        stages=len(timings),
        work_us=sum(timing.work_us for timing in timings),
        calls=len(calls),
        call_cost=sum((call.cost_usd for call in calls), Decimal(0)),
        payloads=sum(log.payload is not None for log in logs),
    )


async def totals(clickhouse: ClickHouse, run: str) -> Totals:
    """What the views say of one run."""
    of_run = f"WHERE startsWith(request_id, '{run}')"
    [requests] = await clickhouse.query(f"SELECT count() AS n, sum(cost_usd) AS usd FROM requests {of_run}")
    [stages] = await clickhouse.query(f"SELECT count() AS n, sum(duration_us) AS us FROM stages {of_run}")
    [calls] = await clickhouse.query(f"SELECT count() AS n, sum(cost_usd) AS usd FROM llm_calls {of_run}")
    [payloads] = await clickhouse.query(f"SELECT count() AS n FROM payloads {of_run}")
    return Totals(
        requests=requests["n"],
        cost=requests["usd"],
        stages=stages["n"],
        work_us=stages["us"],
        calls=calls["n"],
        call_cost=calls["usd"],
        payloads=payloads["n"],
    )


def batch(topic: str, offsets: Sequence[int], logs: Sequence[RequestLog]) -> SinkBatch:
    return SinkBatch(
        topic=topic,
        partition=0,
        range=OffsetRange(offsets[0], offsets[-1]),
        records=tuple(make_record(offset, logs[offset]) for offset in offsets),
    )


@given(data=st.data())
@settings(
    max_examples=6 * THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_views_are_exact_whatever_is_redelivered(clickhouse: ClickHouse, data: st.DataObject) -> None:
    """Any cut into batches, any share again with the same or other bounds, in any order, over three days."""
    run = uuid4().hex
    count = data.draw(st.integers(min_value=1, max_value=12))
    logs = [data.draw(request_logs(f"{run}-{number}")) for number in range(count)]
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=3))})
    again = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).map(sorted)
    deliveries = [
        *((start, stop - 1) for start, stop in pairwise(cuts)),  # everything at least once
        *data.draw(st.lists(again | st.just((0, count - 1)), max_size=4)),
    ]
    writer = BatchWriter(clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus())
    for first, last in data.draw(st.permutations(deliveries)):
        await writer.write(batch(f"llm.logs.{run}", range(first, last + 1), logs))
    assert await totals(clickhouse, run) == expected(logs)


async def test_views_are_exact_after_a_merge_too(clickhouse: ClickHouse) -> None:
    """What the background does sooner or later changes no answer."""
    run = uuid4().hex
    logs = [make_log(f"{run}-{number}") for number in range(30)]
    writer = BatchWriter(clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus())
    for first, last in ((0, 29), (5, 20), (10, 29), (0, 29)):
        await writer.write(batch("llm.logs.v1", range(first, last + 1), logs))
    before = await totals(clickhouse, run)
    for table in ("requests_raw", "stages_raw", "llm_calls_raw"):
        await clickhouse.execute(f"OPTIMIZE TABLE {table} FINAL")
    assert before == await totals(clickhouse, run) == expected(logs)

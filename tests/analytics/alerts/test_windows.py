"""Windows: how time is cut, and the figures of one from known rows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from analytics.alerts.windows import EVERYBODY, AlertWindow, WindowFigures, WindowReader
from analytics.clickhouse import ClickHouse
from analytics.sink.rows import REQUESTS, rows_of
from streams.events import RequestLog, Status
from tests.analytics.logs import NOON, make_log

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)


def test_time_is_cut_at_the_same_places_by_everybody() -> None:
    """The last window that is over, also just at its end."""
    found = AlertWindow.last_closed(datetime(2026, 11, 20, 8, 29, 59, 999_999, tzinfo=UTC), QUARTER)
    assert (found.since.minute, found.until.minute) == (0, 15)
    assert AlertWindow.last_closed(datetime(2026, 11, 20, 8, 30, tzinfo=UTC), QUARTER) == found.next
    assert found.next.earlier(1) == found


def test_working_days_are_compared_with_working_days() -> None:
    """Twenty in four weeks; of weekends eight, and one more for a Sunday whose own week counts."""
    friday = datetime(2026, 11, 20, 8, tzinfo=UTC)
    window = AlertWindow(friday, friday + QUARTER)
    days = [each.since for each in window.same_on_earlier_days(28)]
    assert len(days) == 20
    assert {day.weekday() for day in days} == {0, 1, 2, 3, 4}
    assert {(day.hour, day.minute) for day in days} == {(8, 0)}
    assert days[0] == friday - timedelta(days=1)
    sunday = AlertWindow(friday + timedelta(days=2), friday + timedelta(days=2) + QUARTER)
    assert {each.since.weekday() for each in sunday.same_on_earlier_days(28)} == {5, 6}


async def store(clickhouse: ClickHouse, logs: Sequence[RequestLog], token: str) -> None:
    rows = [
        row
        for log in logs
        for table, rows in rows_of(log, ingested_at=NOON).rows
        if table is REQUESTS
        for row in rows
    ]
    await clickhouse.insert(REQUESTS.name, REQUESTS.columns, rows, token=token)


@pytest.mark.integration
async def test_the_figures_of_a_window_are_exact(clickhouse: ClickHouse) -> None:
    """By the time of finishing, each request once though it came twice, and tenants apart."""
    window = AlertWindow(NOON, NOON + QUARTER)
    inside = {"accepted_at": NOON - timedelta(minutes=5), "finished_at": NOON}
    logs = [
        make_log("a", **inside, latency_ms=100.0, cost_usd=Decimal("0.25")),
        make_log(
            "b", **inside, status=Status.FAILED, latency_ms=9_000.0, cost_usd=Decimal("0.5"), cache_kind=""
        ),
        make_log("c", **inside, status=Status.BLOCKED, cost_usd=Decimal(0), cache_kind=""),
        make_log("d", **inside, status=Status.CACHED, latency_ms=3.0, cache_kind="semantic", cache_hit=True),
        make_log(
            "e", **inside, status=Status.DEGRADED, latency_ms=200.0, cache_kind="bypass", tenant="globex"
        ),
        make_log("early", accepted_at=NOON - QUARTER, finished_at=NOON - timedelta(microseconds=1)),
        make_log("late", accepted_at=NOON, finished_at=window.until),
        make_log("yesterday", accepted_at=NOON - DAY, finished_at=NOON - DAY),
        make_log("batch", accepted_at=NOON - timedelta(hours=2), finished_at=NOON),
    ]
    await store(clickhouse, logs, "one")
    await store(clickhouse, logs[:3], "two")
    reader = WindowReader(clickhouse)
    found, yesterday, before = await reader.figures([window, window.earlier(96), window.earlier(192)])
    cents = float(Decimal("0.000700001"))
    assert set(found) == {EVERYBODY, "acme", "globex"}
    assert found["acme"] == WindowFigures(
        requests=4,
        errors=1,
        blocked=1,
        cache_lookups=2,
        cache_hits=1,
        replies=2,
        spend_usd=pytest.approx(0.75 + cents),
        p95_ms=100.0,
    )
    assert (found["globex"].errors, found["globex"].cache_lookups) == (1, 0)
    assert (found[EVERYBODY].requests, found[EVERYBODY].replies) == (5, 3)
    assert found[EVERYBODY].p95_ms == 200.0
    assert (yesterday[EVERYBODY].requests, yesterday["acme"].requests, before) == (1, 1, {})


@pytest.mark.integration
async def test_the_newest_row_of_each_table_is_known(clickhouse: ClickHouse) -> None:
    """Only of tables with rows of the last day."""
    reader, now = WindowReader(clickhouse), NOON + timedelta(hours=1)
    assert await reader.newest(now) == {}
    await store(clickhouse, [make_log("a")], "one")
    assert await reader.newest(now) == {"requests": NOON}

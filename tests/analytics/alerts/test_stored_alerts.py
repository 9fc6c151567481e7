"""The alerts as analysts see them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from analytics.alerts.alert_log import store_alerts
from analytics.clickhouse import ClickHouse
from streams.events import AlertRaised

pytestmark = pytest.mark.integration

AT = datetime.now(UTC).replace(microsecond=123_456) - timedelta(days=1)
RAISED = AlertRaised(
    alert_id="error_rate:above:acme:2026-11-20T08:00:00Z",
    rule="error_rate",
    state="raised",
    severity="critical",
    direction="above",
    observed=0.3,
    expected=0.01,
    unit="ratio",
    method="a test",
    message="The error rate is high",
    window_since=AT,
    window_until=AT + timedelta(minutes=15),
    began_at=AT,
    at=AT + timedelta(minutes=31),
    tenant="acme",
    p_value=1e-12,
    history_windows=20,
)
RESOLVED = msgspec.structs.replace(
    RAISED, state="resolved", observed=0.01, p_value=None, message="Over", at=AT + timedelta(hours=2)
)
LAG = msgspec.structs.replace(RAISED, alert_id="sink_lag:above:*:x", rule="sink_lag", tenant="", p_value=None)


async def view(clickhouse: ClickHouse) -> list[dict[str, Any]]:
    return await clickhouse.query(
        "SELECT *, toUnixTimestamp64Micro(raised_at) AS raised_us,"
        " toUnixTimestamp64Micro(assumeNotNull(resolved_at)) AS resolved_us FROM alerts ORDER BY rule"
    )


def micros(at: datetime) -> int:
    return int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


async def test_an_alert_is_one_row_that_says_whether_it_stands(clickhouse: ClickHouse) -> None:
    """What was observed is what raised it; the end comes into the same row."""
    await store_alerts(clickhouse, [])
    await store_alerts(clickhouse, [RAISED])
    (row,) = await view(clickhouse)
    assert (row["rule"], row["tenant"], row["severity"], row["observed"]) == (
        "error_rate",
        "acme",
        "critical",
        0.3,
    )
    assert (row["raised_us"], row["resolved_at"]) == (micros(RAISED.at), None)
    await store_alerts(clickhouse, [RESOLVED, LAG])
    error_rate, lag = await view(clickhouse)
    assert (error_rate["observed"], error_rate["message"]) == (0.3, "The error rate is high")
    assert error_rate["p_value"] == 1e-12
    assert error_rate["resolved_us"] == micros(RESOLVED.at)
    assert (lag["tenant"], lag["p_value"], lag["resolved_at"]) == ("", None, None)


async def test_storing_again_changes_nothing(clickhouse: ClickHouse) -> None:
    """In whatever company the records come again, as after a restart."""
    for events in ([RAISED], [RAISED], [RAISED, RESOLVED], [RAISED, RESOLVED, LAG]):
        await store_alerts(clickhouse, events)
    stored = await clickhouse.query("SELECT count() AS n FROM alerts_raw FINAL")
    assert stored[0]["n"] == 3
    assert len(await view(clickhouse)) == 2

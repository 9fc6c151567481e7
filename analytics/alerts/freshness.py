"""Freshness of what analysts see: the lag of the sinks, its age, and the newest rows."""

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files

import msgspec

from analytics.alerts.verdicts import EVERYBODY, AlertSeries, MeasureState, SeriesVerdict, instant
from analytics.clickhouse import ClickHouse

RULES = ("sink_stale", "sink_lag")

_ROWS_SINCE = timedelta(days=1)
_SEVERE = 4  # times the limit
_CALM = 0.5  # of the limit, so that a value that moves about the limit is one alert and not many


class FreshnessLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Alert limits: the age in seconds of a record that is not stored, and the number of such records."""

    stale_s: float
    lag_records: int


def judge_freshness(*, lag_records: int, stale_s: float, limits: FreshnessLimits) -> list[SeriesVerdict]:
    """Return the verdicts on the sinks' lag. Pure."""
    return [
        _verdict("sink_stale", stale_s, limits.stale_s, "s"),
        _verdict("sink_lag", lag_records, limits.lag_records, "records"),
    ]


def _verdict(rule: str, observed: float, limit: float, unit: str) -> SeriesVerdict:
    if observed >= limit:
        finding = MeasureState.ANOMALOUS
    else:
        finding = MeasureState.CALM if observed <= limit * _CALM else MeasureState.UNCLEAR
    return SeriesVerdict(
        series=AlertSeries(rule, "above", EVERYBODY),
        finding=finding,
        observed=float(observed),
        expected=float(limit),
        unit=unit,
        method="a fixed limit",
        severe=observed >= _SEVERE * limit,
        confirm=1,  # the limit is a time already
    )


async def newest_rows(clickhouse: ClickHouse, now: datetime) -> dict[str, datetime]:
    """Return when each table's newest row was written; only tables with rows of the last day.

    Raises:
        ClickHouseUnavailable: no answer in time.
    """
    since = now - _ROWS_SINCE
    rows = await clickhouse.query(_sql(), {"since": instant(since)})
    newest = {row["name"]: datetime.fromtimestamp(row["newest_us"] / 1e6, UTC) for row in rows}
    return {name: at for name, at in newest.items() if at >= since}


@cache
def _sql() -> str:
    return (files("analytics.alerts") / "newest_rows.sql").read_text("utf-8")

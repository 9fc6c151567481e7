"""Alerts on freshness: the lag of the sinks, and its age. Pure."""

import msgspec

from analytics.alerts.verdicts import EVERYBODY, AlertSeries, MeasureState, SeriesVerdict

RULES = ("sink_stale", "sink_lag")

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

"""Which alerts stand, and which records are due: the state machine between verdicts and the topic. Pure.

An alert is raised by a number of anomalous verdicts in a row, and resolved by as many calm ones. Records are
emitted only on changes of state. A proposed record changes the state only once it is recorded (`record`);
the states are rebuilt from the topic in the same way.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

import msgspec

from analytics.alerts.windows import EVERYBODY, AlertWindow
from streams.events import AlertRaised

Direction = Literal["above", "below"]


class MeasureState(StrEnum):
    """The state of a measure in a window."""

    CALM = "calm"
    UNCLEAR = "unclear"
    ANOMALOUS = "anomalous"


class AlertSeries(msgspec.Struct, frozen=True):
    """What an alert is about: one measure of one tenant (or of all), in one direction."""

    rule: str
    direction: Direction
    tenant: str

    @classmethod
    def of(cls, event: AlertRaised) -> Self:
        """Return the series that a record is of."""
        return cls(event.rule, event.direction, event.tenant)

    @property
    def key(self) -> str:
        """The key of its records."""
        return f"{self.rule}:{self.direction}:{self.tenant or '*'}"

    def alert_id(self, began_at: datetime) -> str:
        """Return the id of the alert of this series whose first window began then."""
        return f"{self.key}:{began_at.strftime('%Y-%m-%dT%H:%M:%SZ')}"


class SeriesVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One series at one time.

    `confirm` is how many verdicts in a row have to be anomalous before it is an alert, and how many have to
    be calm before that is over. `sentence` says it in words, where it is no comparison with what is expected.
    """

    series: AlertSeries
    finding: MeasureState
    observed: float
    expected: float
    unit: str
    method: str
    severe: bool = False
    p_value: float | None = None
    history_windows: int = 0
    confirm: int = 2
    sentence: str = ""


#: What the rules are called in sentences. A rule without a name here goes by its own.
_NAMES: Mapping[str, str] = {
    "spend": "Spend",
    "latency_p95": "The 95th percentile of latency",
    "error_rate": "The error rate",
    "block_rate": "The share of blocked requests",
    "cache_hit_rate": "The cache hit rate",
    "sink_stale": "The age of log records that are not stored",
    "sink_lag": "The number of log records that are not stored",
}


class AlertStates:
    """The standing alerts, and the runs of verdicts that may change them."""

    def __init__(self) -> None:
        self._last: dict[AlertSeries, AlertRaised] = {}
        # Consecutive verdicts towards a change of state: when the first window began, and how many.
        self._runs: dict[AlertSeries, tuple[datetime, int]] = {}

    @property
    def standing(self) -> list[AlertRaised]:
        """The alerts that stand, the oldest first."""
        raised = (event for event in self._last.values() if event.state == "raised")
        return sorted(raised, key=lambda event: (event.began_at, event.alert_id))

    def record(self, event: AlertRaised) -> None:
        """Apply a record of the topic. The records of a series must come in their order."""
        series = AlertSeries.of(event)
        self._last[series] = event
        self._runs.pop(series, None)

    def judge(
        self, verdicts: Iterable[SeriesVerdict], window: AlertWindow, *, rules: Iterable[str], at: datetime
    ) -> list[AlertRaised]:
        """Return the records that are due after a window.

        Windows come in their order, and one may come again. A standing alert of one of the `rules` without a
        verdict counts as calm, for there is nothing left of what it was about.
        """
        found = {verdict.series: verdict for verdict in verdicts}
        wanted = frozenset(rules)
        for series, event in self._last.items():
            if event.state == "raised" and event.rule in wanted and series not in found:
                found[series] = _nothing_left(event)
        for series in [each for each in self._runs if each.rule in wanted and each not in found]:
            del self._runs[series]
        return [event for verdict in found.values() for event in self._due(verdict, window, at)]

    def _due(self, verdict: SeriesVerdict, window: AlertWindow, at: datetime) -> Iterator[AlertRaised]:
        last = self._last.get(verdict.series)
        if last is not None and window.until <= last.window_until:
            return  # it was judged before the restart that brought it here again
        stands = last is not None and last.state == "raised"
        turning = MeasureState.CALM if stands else MeasureState.ANOMALOUS
        if verdict.finding is not turning:
            self._runs.pop(verdict.series, None)
            return
        since, count = self._runs.get(verdict.series, (window.since, 0))
        self._runs[verdict.series] = since, count + 1
        if count + 1 < verdict.confirm:
            return
        if stands and last is not None:
            message, figures = f"Over: {_sentence(verdict, 'is again')}", _figures(verdict, window, at)
            yield msgspec.structs.replace(last, state="resolved", message=message, **figures)
        else:
            yield _raised(verdict, window, began_at=since, at=at)


def _nothing_left(event: AlertRaised) -> SeriesVerdict:
    return SeriesVerdict(
        series=AlertSeries.of(event),
        finding=MeasureState.CALM,
        observed=0.0,
        expected=event.expected,
        unit=event.unit,
        method="too few requests to judge",
    )


def _raised(verdict: SeriesVerdict, window: AlertWindow, *, began_at: datetime, at: datetime) -> AlertRaised:
    return AlertRaised(
        alert_id=verdict.series.alert_id(began_at),
        rule=verdict.series.rule,
        state="raised",
        severity="critical" if verdict.severe else "warning",
        direction=verdict.series.direction,
        tenant=verdict.series.tenant,
        unit=verdict.unit,
        message=_sentence(verdict, "is"),
        began_at=began_at,
        **_figures(verdict, window, at),
    )


def _figures(verdict: SeriesVerdict, window: AlertWindow, at: datetime) -> dict[str, Any]:
    return {
        "observed": verdict.observed,
        "expected": verdict.expected,
        "method": verdict.method,
        "window_since": window.since,
        "window_until": window.until,
        "at": at,
        "p_value": verdict.p_value,
        "history_windows": verdict.history_windows,
    }


def _sentence(verdict: SeriesVerdict, verb: str) -> str:
    if verdict.sentence:
        return verdict.sentence
    series = verdict.series
    name = _NAMES.get(series.rule, series.rule)
    owner = "of all tenants" if series.tenant == EVERYBODY else f"of tenant {series.tenant}"
    where = series.direction if verdict.finding is MeasureState.ANOMALOUS else "near"
    return (
        f"{name} {owner} {verb} {_amount(verdict.observed, verdict.unit)}, "
        f"{where} the expected {_amount(verdict.expected, verdict.unit)}"
    )


def _amount(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"{value:.1%}"
    return f"{value:.2f} USD" if unit == "usd" else f"{value:,.0f} {unit}"

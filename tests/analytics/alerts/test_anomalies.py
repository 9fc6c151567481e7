"""The judging on simulated months: what is injected is found, and quiet noise stays quiet."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from analytics.alerts.alert_states import AlertSeries, AlertStates, MeasureState, SeriesVerdict
from analytics.alerts.anomalies import MEASURES, AnomalyLimits, judge
from analytics.alerts.windows import EVERYBODY, AlertWindow, FiguresByTenant, WindowFigures

HOUR = timedelta(hours=1)
LIMITS = AnomalyLimits(window=HOUR, requests=50, history=5)
MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
HISTORY_DAYS = 28
DAYS = 30
TENANTS = {"acme": 2_000, "globex": 300, "initech": 70}
RULES = tuple(measure.rule for measure in MEASURES)
NOON = AlertWindow(MONDAY + timedelta(days=HISTORY_DAYS + 1, hours=12), MONDAY + timedelta(days=29, hours=13))


def figures(random: np.random.Generator, window: AlertWindow, hourly: float) -> WindowFigures:
    """A quiet hour: days and weekends have their shape, and every rate wobbles more than chance would."""
    shape = 0.4 + 0.6 * np.sin(np.pi * window.since.hour / 24) ** 2
    weekend = 0.35 if window.since.weekday() >= 5 else 1.0
    requests = int(random.poisson(hourly * shape * weekend * random.lognormal(0, 0.15)))
    errors = int(random.binomial(requests, random.beta(4, 396)))
    blocked = int(random.binomial(requests, random.beta(15, 485)))
    lookups = requests - blocked
    hits = int(random.binomial(lookups, random.beta(200, 300)))
    costs = random.gamma(1.5, 0.002, max(lookups - hits, 0))
    replies = max(requests - blocked, 0)
    latencies = random.lognormal(6.5, 0.6, replies) * random.lognormal(0, 0.05)
    return WindowFigures(
        requests=requests,
        errors=errors,
        blocked=blocked,
        cache_lookups=lookups,
        cache_hits=hits,
        replies=replies,
        spend_usd=float(costs.sum()),
        p95_ms=float(np.quantile(latencies, 0.95)) if replies else 0.0,
    )


def together(tenants: Mapping[str, WindowFigures]) -> FiguresByTenant:
    """All tenants, and their sum."""
    counts = ("requests", "errors", "blocked", "cache_lookups", "cache_hits", "replies", "spend_usd")
    total: dict[str, Any] = {name: sum(getattr(each, name) for each in tenants.values()) for name in counts}
    largest = max(tenants.values(), key=lambda each: each.requests)
    return {EVERYBODY: WindowFigures(**total, p95_ms=largest.p95_ms), **tenants}


@cache
def months(seed: int) -> Mapping[AlertWindow, FiguresByTenant]:
    """Every hour of the history and of thirty days after it."""
    random = np.random.default_rng(seed)
    found = {}
    window = AlertWindow(MONDAY, MONDAY + HOUR)
    for _ in range(24 * (HISTORY_DAYS + DAYS)):
        found[window] = together({name: figures(random, window, hourly) for name, hourly in TENANTS.items()})
        window = window.next
    return found


def verdicts(window: AlertWindow, known: Mapping[AlertWindow, FiguresByTenant]) -> list[SeriesVerdict]:
    history = [known[each] for each in window.same_on_earlier_days(HISTORY_DAYS) if each in known]
    return judge(known[window], history, LIMITS)


def last_thirty_days(known: Mapping[AlertWindow, FiguresByTenant]) -> Iterator[AlertWindow]:
    begin = MONDAY + timedelta(days=HISTORY_DAYS)
    return (window for window in known if window.since >= begin)


def anomalous(found: list[SeriesVerdict]) -> set[AlertSeries]:
    return {verdict.series for verdict in found if verdict.finding is MeasureState.ANOMALOUS}


def test_thirty_quiet_days_stay_within_the_stated_false_alarm_rate() -> None:
    """At most one window in thirty days is called anomalous, over all tenants; no alert is raised."""
    false_windows, alerts, book = 0, [], AlertStates()
    known = months(20260907)
    judged = 0
    for window in last_thirty_days(known):
        found = verdicts(window, known)
        judged += len(found)
        false_windows += bool(anomalous(found))
        for event in book.judge(found, window, rules=RULES, at=window.until):
            book.record(event)
            alerts.append(event)
    assert judged > 10_000
    assert false_windows <= 1
    assert alerts == []


def worse(**factors: float) -> Callable[[WindowFigures], WindowFigures]:
    """Return what multiplies some of the figures."""

    def change(quiet: WindowFigures) -> WindowFigures:
        changed = {name: getattr(quiet, name) * factor for name, factor in factors.items()}
        whole = {
            name: int(it) if isinstance(getattr(quiet, name), int) else it for name, it in changed.items()
        }
        return msgspec.structs.replace(quiet, **whole)

    return change


def failing(quiet: WindowFigures) -> WindowFigures:
    """Return the same with an error in every tenth request."""
    return msgspec.structs.replace(quiet, errors=quiet.requests // 10)


@pytest.mark.parametrize(
    ("rule", "direction", "change"),
    [
        ("error_rate", "above", failing),
        ("spend", "above", worse(spend_usd=4)),
        ("spend", "below", worse(spend_usd=0)),
        ("spend", "below", lambda _: WindowFigures()),
        ("latency_p95", "above", worse(p95_ms=2.5)),
        ("block_rate", "above", worse(blocked=6)),
        ("block_rate", "below", worse(blocked=0)),
        ("cache_hit_rate", "below", worse(cache_hits=0.3)),
    ],
)
def test_what_is_injected_is_found_in_its_own_series(
    rule: str, direction: Any, change: Callable[[WindowFigures], WindowFigures]
) -> None:
    """An incident of one tenant is found there, and no other tenant is blamed."""
    known = dict(months(11))
    known[NOON] = {**known[NOON], "acme": change(known[NOON]["acme"])}
    found = anomalous(verdicts(NOON, known))
    assert AlertSeries(rule, direction, "acme") in found
    assert {series.tenant for series in found} == {"acme"}


def test_a_slightly_worse_window_is_no_anomaly() -> None:
    """A difference that does not matter is none, however certain it is."""
    many = WindowFigures(requests=1_000_000, errors=10_000, replies=990_000, p95_ms=900.0, spend_usd=500.0)
    history: list[FiguresByTenant] = [{EVERYBODY: many}] * 20
    now = {EVERYBODY: msgspec.structs.replace(many, errors=13_000, p95_ms=960.0, spend_usd=560.0)}
    assert anomalous(judge(now, history, LIMITS)) == set()


def test_what_cannot_be_judged_has_no_verdict() -> None:
    """Too few requests, too few earlier windows, or a tenant that is new."""
    window = WindowFigures(requests=40, errors=40, replies=40, p95_ms=1.0, spend_usd=1.0)
    enough = msgspec.structs.replace(window, requests=500, replies=500)
    assert judge({EVERYBODY: window}, [{EVERYBODY: window}] * 20, LIMITS) == []
    assert judge({EVERYBODY: enough}, [{EVERYBODY: enough}] * 4, LIMITS) == []
    assert judge({"new": enough}, [{EVERYBODY: enough}] * 20, LIMITS)[0].series.tenant == EVERYBODY
    assert {each.series.tenant for each in judge({"new": enough}, [{"old": enough}] * 9, LIMITS)} == {"old"}


def test_earlier_incidents_do_not_hide_a_new_one() -> None:
    """Two of twenty earlier days had the same incident: it is found all the same."""
    known = dict(months(11))
    earlier = [each for each in NOON.same_on_earlier_days(HISTORY_DAYS) if each in known]
    worst = worse(p95_ms=2.5, spend_usd=4)
    for window in (NOON, earlier[0], earlier[5]):
        known[window] = {**known[window], "acme": worst(failing(known[window]["acme"]))}
    rules = {series.rule for series in anomalous(verdicts(NOON, known)) if series.tenant == "acme"}
    assert {"error_rate", "latency_p95", "spend"} <= rules


def test_more_tenants_make_no_more_false_alarms() -> None:
    """Two hundred tenants, two windows, each compared with twenty: chance is not mistaken for anything.

    Without a correction for the number of tests, each window would have more than one false anomaly.
    """
    random = np.random.default_rng(5)
    false = 0
    for _ in range(2):
        history = [{f"t{number}": figures(random, NOON, 200) for number in range(200)} for _ in range(20)]
        now = {f"t{number}": figures(random, NOON, 200) for number in range(200)}
        false += bool(anomalous(judge(now, history, LIMITS)))
    assert false == 0

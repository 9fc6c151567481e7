"""Whether a window differs from the same windows of earlier days. Pure; docs/alerts.md says it in prose.

Counts (errors, blocks, cache hits) are judged as beta-binomial, levels (spend, 95th percentile of latency) as
log-normal with Student's t: `analytics/alerts/statistics.py`. A window is anomalous where chance hardly
explains it *and* the difference is large enough to matter. "Hardly" is Holm's correction over everything that
is judged in the window, all tenants and measures, at a level at which chance would call one window in thirty
days anomalous; and an alert takes two of them in a row.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from statistics import median

import msgspec

from analytics.alerts.statistics import LevelModel, RateModel, fit_level, fit_rate, holm
from analytics.alerts.verdicts import Direction, Finding, Series, Verdict
from analytics.alerts.windows import ByTenant, Figures

#: Windows that chance alone calls anomalous, in thirty days, whatever the number of tenants. An alert takes
#: two in a row, so that this is its bound even where a slow day makes windows depend on each other.
FALSE_WINDOWS_PER_30_DAYS = 1.0
_THIRTY_DAYS = timedelta(days=30)

#: A window with at least this probability is calm again.
_CALM_P = 0.01

_LEAST_LOG_DEVIATION = 0.1  # a level that varies by less than 10 % is steady by accident
_NEXT_TO_NOTHING = 0.01  # of the usual: what a window without any spend counts as, for it has no logarithm


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A measure that is a share of requests.

    `least_difference` and `least_ratio` are what the rate must differ from the expected one by to matter.
    """

    rule: str
    directions: tuple[Direction, ...]
    hits: Callable[[Figures], int]
    total: Callable[[Figures], int]
    least_difference: float
    least_ratio: float = 1.0
    unit: str = "ratio"
    method: str = "beta-binomial tail against the same hours of earlier days"


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """A measure that is a positive amount."""

    rule: str
    directions: tuple[Direction, ...]
    value: Callable[[Figures], float]
    count: Callable[[Figures], int]
    least_difference: float
    least_ratio: float
    unit: str
    method: str = "Student's t of the logarithm against the same hours of earlier days"


Measure = Rate | Level

MEASURES: tuple[Measure, ...] = (
    Level(
        rule="spend",
        directions=("above", "below"),
        value=lambda it: it.spend_usd,
        count=lambda it: it.requests,
        least_difference=0.1,
        least_ratio=1.5,
        unit="usd",
    ),
    Level(
        rule="latency_p95",
        directions=("above",),
        value=lambda it: it.p95_ms,
        count=lambda it: it.replies,
        least_difference=100.0,
        least_ratio=1.3,
        unit="ms",
    ),
    Rate(
        rule="error_rate",
        directions=("above",),
        hits=lambda it: it.errors,
        total=lambda it: it.requests,
        least_difference=0.02,
        least_ratio=1.5,
    ),
    Rate(
        rule="block_rate",
        directions=("above", "below"),
        hits=lambda it: it.blocked,
        total=lambda it: it.requests,
        least_difference=0.03,
        least_ratio=1.5,
    ),
    Rate(
        rule="cache_hit_rate",
        directions=("below",),
        hits=lambda it: it.cache_hits,
        total=lambda it: it.cache_lookups,
        least_difference=0.1,
    ),
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged at all.

    `window` is the length of a window, `requests` how many it needs at least, `history` how many earlier
    windows it is compared with at least.
    """

    window: timedelta
    requests: int = 50
    history: int = 5

    @property
    def level(self) -> float:
        """The chance at which a window without any anomaly may have one."""
        return min(FALSE_WINDOWS_PER_30_DAYS * (self.window / _THIRTY_DAYS), 0.05)


class _Test(msgspec.Struct, frozen=True, kw_only=True):
    """One test: what was seen and expected, and how probable that is."""

    series: Series
    measure: Measure
    observed: float
    expected: float
    p_value: float
    windows: int

    @property
    def matters(self) -> bool:
        low, high = sorted((self.observed, self.expected))
        right_side = (self.observed > self.expected) == (self.series.direction == "above")
        return (
            right_side
            and high - low >= self.measure.least_difference
            and high >= self.measure.least_ratio * low
        )

    @property
    def severe(self) -> bool:
        low, high = sorted((self.observed, self.expected))
        return high - low >= 5 * self.measure.least_difference and high >= 3 * low


def judge(now: ByTenant, history: Sequence[ByTenant], limits: Limits) -> list[Verdict]:
    """Return what there is to say about a window: one verdict for each series that can be judged.

    Args:
        now: the figures of the window.
        history: those of the same windows of earlier days. Days without any requests say nothing.
        limits: what is judged at all.
    """
    known = {tenant for earlier in history for tenant in earlier}
    tests = [
        test
        for tenant in sorted(known)
        for measure in MEASURES
        for test in _tests(measure, tenant, now.get(tenant, Figures()), _of(tenant, history), limits)
    ]
    rejected = holm([test.p_value for test in tests], limits.level)
    return [_verdict(test, improbable=improbable) for test, improbable in zip(tests, rejected, strict=True)]


def _of(tenant: str, history: Sequence[ByTenant]) -> list[Figures]:
    return [earlier[tenant] for earlier in history if tenant in earlier]


def _verdict(test: _Test, *, improbable: bool) -> Verdict:
    if improbable and test.matters:
        finding = Finding.ANOMALOUS
    elif test.p_value >= _CALM_P or not test.matters:
        finding = Finding.CALM
    else:
        finding = Finding.UNCLEAR
    return Verdict(
        series=test.series,
        finding=finding,
        observed=test.observed,
        expected=test.expected,
        unit=test.measure.unit,
        method=test.measure.method,
        severe=test.severe,
        p_value=test.p_value,
        history_windows=test.windows,
    )


def _tests(
    measure: Measure, tenant: str, now: Figures, history: Sequence[Figures], limits: Limits
) -> Iterator[_Test]:
    if isinstance(measure, Rate):
        yield from _rate_tests(measure, tenant, now, history, limits)
    else:
        yield from _level_tests(measure, tenant, now, history, limits)


def _rate_tests(
    measure: Rate, tenant: str, now: Figures, history: Sequence[Figures], limits: Limits
) -> Iterator[_Test]:
    hits, total = measure.hits(now), measure.total(now)
    earlier = [(measure.hits(each), measure.total(each)) for each in history if measure.total(each)]
    if total < limits.requests or len(earlier) < limits.history:
        return
    if sum(each for _, each in earlier) < limits.requests:
        return
    model: RateModel = fit_rate(*zip(*earlier, strict=True))
    for direction in measure.directions:
        tail = model.p_above if direction == "above" else model.p_below
        yield _Test(
            series=Series(measure.rule, direction, tenant),
            measure=measure,
            observed=hits / total,
            expected=model.expected,
            p_value=tail(hits, total),
            windows=model.windows,
        )


def _level_tests(
    measure: Level, tenant: str, now: Figures, history: Sequence[Figures], limits: Limits
) -> Iterator[_Test]:
    earlier = [each for each in history if measure.count(each) >= limits.requests and measure.value(each) > 0]
    if len(earlier) < limits.history:
        return
    values = [measure.value(each) for each in earlier]
    least = _NEXT_TO_NOTHING * median(values)
    model: LevelModel = fit_level(values, least_deviation=_LEAST_LOG_DEVIATION)
    logarithm = math.log(max(measure.value(now), least))
    for direction in measure.directions:
        if direction == "above" and measure.count(now) < limits.requests:
            continue
        tail = model.p_above if direction == "above" else model.p_below
        yield _Test(
            series=Series(measure.rule, direction, tenant),
            measure=measure,
            observed=measure.value(now),
            expected=model.expected,
            p_value=tail(logarithm),
            windows=model.windows,
        )

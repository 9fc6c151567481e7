"""Whether a window differs from the same windows of earlier days. Pure; docs/alerts.md explains it.

Counts (errors, blocks, cache hits) are judged as beta-binomial, levels (spend, 95th percentile of latency) as
log-normal with Student's t: `analytics.alerts.statistics`. A window is anomalous where chance hardly explains
it *and* the difference is large enough to matter. "Hardly" is Holm's correction over everything that is
judged in the window, all tenants and measures, at the level at which chance would call one window in thirty
days anomalous. An alert takes two such windows in a row.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from statistics import median

import msgspec

from analytics.alerts.alert_states import AlertSeries, Direction, MeasureState, SeriesVerdict
from analytics.alerts.statistics import LevelModel, RateModel, fit_level, fit_rate, holm
from analytics.alerts.windows import FiguresByTenant, WindowFigures

#: Windows that chance alone calls anomalous, in thirty days, whatever the number of tenants. An alert takes
#: two in a row, so that this is its bound even where a slow day makes windows depend on each other.
FALSE_WINDOWS_PER_30_DAYS = 1.0
_THIRTY_DAYS = timedelta(days=30)

#: A window with at least this probability is calm again.
_CALM_P = 0.01

_LEAST_LOG_DEVIATION = 0.1  # a level that varies by less than 10 % is steady by accident
_NEXT_TO_NOTHING = 0.01  # of the usual: what a window without any spend counts as, for it has no logarithm


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged. Below `least_difference` or `least_ratio` a difference does not matter."""

    rule: str
    directions: tuple[Direction, ...]
    least_difference: float
    least_ratio: float = 1.0
    unit: str
    method: str


class Rate(Measure, frozen=True, kw_only=True):
    """A share of requests."""

    hits: Callable[[WindowFigures], int]
    total: Callable[[WindowFigures], int]
    unit: str = "ratio"
    method: str = "beta-binomial tail against the same hours of earlier days"

    def tests(
        self, tenant: str, now: WindowFigures, history: Sequence[WindowFigures], limits: "AnomalyLimits"
    ) -> Iterator["_Test"]:
        """Yield a test for each direction, where there are requests enough."""
        hits, total = self.hits(now), self.total(now)
        earlier = [(self.hits(each), self.total(each)) for each in history if self.total(each)]
        if total < limits.requests or len(earlier) < limits.history:
            return
        if sum(each for _, each in earlier) < limits.requests:
            return
        model = fit_rate(*zip(*earlier, strict=True))
        for direction in self.directions:
            tail = model.p_above if direction == "above" else model.p_below
            series = AlertSeries(self.rule, direction, tenant)
            yield _Test(series, self, model, observed=hits / total, p_value=tail(hits, total))


class Level(Measure, frozen=True, kw_only=True):
    """A positive amount, and how many requests it is of."""

    value: Callable[[WindowFigures], float]
    count: Callable[[WindowFigures], int]
    unit: str
    method: str = "Student's t of the logarithm against the same hours of earlier days"

    def tests(
        self, tenant: str, now: WindowFigures, history: Sequence[WindowFigures], limits: "AnomalyLimits"
    ) -> Iterator["_Test"]:
        """Yield a test for each direction, where there are requests enough."""
        enough = [each for each in history if self.count(each) >= limits.requests and self.value(each) > 0]
        if len(enough) < limits.history:
            return
        values = [self.value(each) for each in enough]
        model = fit_level(values, least_deviation=_LEAST_LOG_DEVIATION)
        logarithm = math.log(max(self.value(now), _NEXT_TO_NOTHING * median(values)))
        for direction in self.directions:
            if direction == "below" or self.count(now) >= limits.requests:
                tail = model.p_above if direction == "above" else model.p_below
                series = AlertSeries(self.rule, direction, tenant)
                yield _Test(series, self, model, observed=self.value(now), p_value=tail(logarithm))


MEASURES: tuple[Rate | Level, ...] = (
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


class AnomalyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds below which nothing is judged.

    `window` is the length of a window, `requests` how many it needs at least, `history` how many earlier
    windows it is compared with at least.
    """

    window: timedelta
    requests: int = 50
    history: int = 5

    @property
    def level(self) -> float:
        """The probability of an anomaly in a window that has none."""
        return min(FALSE_WINDOWS_PER_30_DAYS * (self.window / _THIRTY_DAYS), 0.05)


class _Test(msgspec.Struct, frozen=True):
    series: AlertSeries
    measure: Measure
    model: RateModel | LevelModel
    observed: float
    p_value: float

    @property
    def matters(self) -> bool:
        low, high = sorted((self.observed, self.model.expected))
        right_side = (self.observed > self.model.expected) == (self.series.direction == "above")
        large = high - low >= self.measure.least_difference and high >= self.measure.least_ratio * low
        return right_side and large

    @property
    def severe(self) -> bool:
        low, high = sorted((self.observed, self.model.expected))
        return high - low >= 5 * self.measure.least_difference and high >= 3 * low


def judge(
    now: FiguresByTenant, history: Sequence[FiguresByTenant], limits: AnomalyLimits
) -> list[SeriesVerdict]:
    """Return one verdict for each series of a window that can be judged.

    `history` are the same windows of earlier days; days without requests say nothing.
    """
    by_tenant: dict[str, list[WindowFigures]] = {}
    for earlier in history:
        for tenant, figures in earlier.items():
            by_tenant.setdefault(tenant, []).append(figures)
    tests = [
        test
        for tenant, before in sorted(by_tenant.items())
        for measure in MEASURES
        for test in measure.tests(tenant, now.get(tenant, WindowFigures()), before, limits)
    ]
    rejected = holm([test.p_value for test in tests], limits.level)
    return [_verdict(test, improbable=improbable) for test, improbable in zip(tests, rejected, strict=True)]


def _verdict(test: _Test, *, improbable: bool) -> SeriesVerdict:
    if improbable and test.matters:
        finding = MeasureState.ANOMALOUS
    elif test.p_value >= _CALM_P or not test.matters:
        finding = MeasureState.CALM
    else:
        finding = MeasureState.UNCLEAR
    return SeriesVerdict(
        series=test.series,
        finding=finding,
        observed=test.observed,
        expected=test.model.expected,
        unit=test.measure.unit,
        method=test.measure.method,
        severe=test.severe,
        p_value=test.p_value,
        history_windows=test.model.windows,
    )

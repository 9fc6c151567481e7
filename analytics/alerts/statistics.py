"""The statistics behind the alerts. Pure.

Written out here because scipy and statsmodels are no dependencies of Headrace (each is larger than all of
Headrace), and numpy has no distribution functions. `tests/analytics/alerts/test_statistics.py` checks each
against exact sums or published tables.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Makes the median absolute deviation a standard deviation, for normal data: 1 / Φ⁻¹(3/4).
_MAD_TO_SD = 1.4826

#: A tail beyond so many terms is summed no further: by then its terms have long been below any level.
_TAIL_TERMS = 1_000_000

#: How many deviations from the median make a value an outlier of the history (Hampel's identifier).
_OUTLIER_LEVEL = 4.0
_OUTLIER_RATE = 6.0  # counts are skewed

#: The share of histories whose overdispersion is underestimated.
_DISPERSION_RISK = 0.05
_MOST_DISPERSION = 0.5


class RateModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a window's count should be: beta-binomial, with the parameters `alpha` and `beta`.

    `expected` is the rate, `windows` the number of windows that it was learnt from.
    """

    expected: float
    alpha: float
    beta: float
    windows: int

    def p_above(self, hits: int, total: int) -> float:
        """Return the probability of `hits` or more of `total`."""
        return beta_binomial_tail(hits, total, self.alpha, self.beta)

    def p_below(self, hits: int, total: int) -> float:
        """Return the probability of `hits` or fewer of `total`."""
        return beta_binomial_tail(total - hits, total, self.beta, self.alpha)


class LevelModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the logarithm of a window's value should be: normal, mean and deviation estimated."""

    mean: float
    deviation: float
    windows: int

    @property
    def expected(self) -> float:
        """The typical value, not its logarithm."""
        return math.exp(self.mean)

    def p_above(self, logarithm: float) -> float:
        """Return the probability of a value as high or higher: Student's, as both are estimates."""
        spread = self.deviation * math.sqrt(1 + 1 / self.windows)
        return student_tail((logarithm - self.mean) / spread, self.windows - 1)

    def p_below(self, logarithm: float) -> float:
        """Return the probability of a value as low or lower."""
        return self.p_above(2 * self.mean - logarithm)


def fit_rate(hits: Sequence[int], totals: Sequence[int]) -> RateModel:
    """Learn a rate that differs somewhat from window to window, more than by chance alone.

    Windows whose rate is far from the others' are left out. The rate is that of all the others together; the
    intra-window correlation ρ comes from Pearson's X² by moments, at its upper 95 % bound, since few windows
    say little about it; how uncertain the rate itself is, is added to it.
    """
    k, n = np.asarray(hits, dtype=float), np.asarray(totals, dtype=float)
    typical = _pooled(*_middle_half(k, n))
    residuals = (k - n * typical) / np.sqrt(n * typical * (1 - typical))
    kept = np.abs(residuals - np.median(residuals)) <= _OUTLIER_RATE * max(_deviation(residuals), 1.0)
    k, n = k[kept], n[kept]
    rate = _pooled(k, n)
    rho = _dispersion(k, n, rate)
    total = n.sum()
    rho += float((n * (1 + (n - 1) * rho)).sum()) / total**2
    strength = max(1 / min(rho, _MOST_DISPERSION) - 1, 1.0)
    return RateModel(expected=rate, alpha=rate * strength, beta=(1 - rate) * strength, windows=len(k))


def fit_level(values: Sequence[float], *, least_deviation: float) -> LevelModel:
    """Learn the level of positive values, on the scale of their logarithms.

    Values that are more than four (scaled) median absolute deviations from the median are left out; mean and
    deviation are those of the rest, which uses them better than median and MAD would.

    It takes at least three values, each above 0. Below `least_deviation`, of the logarithms, a history counts
    as steady by accident.
    """
    logs = np.log(np.asarray(values, dtype=float))
    spread = max(_deviation(logs), least_deviation)
    kept = logs[np.abs(logs - np.median(logs)) <= _OUTLIER_LEVEL * spread]
    deviation = max(float(kept.std(ddof=1)) if len(kept) > 1 else 0.0, least_deviation)
    return LevelModel(mean=float(kept.mean()), deviation=deviation, windows=max(len(kept), 2))


def beta_binomial_tail(hits: int, total: int, alpha: float, beta: float) -> float:
    """Return P(X >= hits) of `total` trials whose rate is Beta(alpha, beta). Exact but for rounding."""
    if hits <= 0:
        return 1.0
    if hits > total:
        return 0.0
    first = (
        _log_beta(hits + alpha, total - hits + beta)
        - _log_beta(alpha, beta)
        - _log_beta(hits + 1, total - hits + 1)
        - math.log(total + 1)
    )
    at = np.arange(hits, min(total, hits + _TAIL_TERMS), dtype=float)
    steps = np.log((total - at) * (alpha + at)) - np.log((at + 1) * (beta + total - at - 1))
    logs = first + np.concatenate(([0.0], np.cumsum(steps)))
    return min(float(np.exp(logs).sum()), 1.0)


def student_tail(t: float, degrees: int) -> float:
    """Return P(T >= t) of Student's distribution. Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    theta = math.atan2(abs(t), math.sqrt(degrees))
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    series = term if degrees > 1 else 0.0
    for step in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        series += term
    within = 2 / math.pi * (theta + sine * series) if odd else sine * series
    upper = max((1 - within) / 2, 0.0)
    return upper if t >= 0 else 1 - upper


def chi_square_quantile(probability: float, degrees: int) -> float:
    """Return a quantile of χ², by Wilson and Hilferty: within some 2 % from five degrees on."""
    z = NormalDist().inv_cdf(probability)
    spread = 2 / (9 * degrees)
    return float(degrees * max(1 - spread + z * math.sqrt(spread), 0.01) ** 3)


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Return what to reject so that the chance of any false rejection is at most `level` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > level / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _pooled(hits: Floats, totals: Floats) -> float:
    """Return the rate of all windows together, never quite 0 or 1."""
    return float((hits.sum() + 0.5) / (totals.sum() + 1.0))


def _middle_half(hits: Floats, totals: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(hits / totals, kind="stable")
    quarter = len(order) // 4
    middle = order[quarter : len(order) - quarter]
    return hits[middle], totals[middle]


def _deviation(values: Floats) -> float:
    return float(_MAD_TO_SD * np.median(np.abs(values - np.median(values))))


def _dispersion(hits: Floats, totals: Floats, rate: float) -> float:
    degrees, mean = len(hits) - 1, float(totals.mean())
    if degrees < 1 or mean <= 1:
        return 0.0
    chi_square = float(((hits - totals * rate) ** 2 / (totals * rate * (1 - rate))).sum())
    inflation = chi_square / chi_square_quantile(_DISPERSION_RISK, degrees)
    return min(max((inflation - 1) / (mean - 1), 0.0), _MOST_DISPERSION)

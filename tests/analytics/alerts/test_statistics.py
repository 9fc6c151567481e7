"""The distributions against exact sums and published tables, and the models against known data."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.alerts.statistics import (
    beta_binomial_tail,
    chi_square_quantile,
    fit_level,
    fit_rate,
    holm,
    student_tail,
)


def exact_beta(a: int, b: int) -> Fraction:
    return Fraction(math.factorial(a - 1) * math.factorial(b - 1), math.factorial(a + b - 1))


def exact_tail(hits: int, total: int, alpha: int, beta: int) -> Fraction:
    terms = (
        math.comb(total, at) * exact_beta(at + alpha, total - at + beta)
        for at in range(max(hits, 0), total + 1)
    )
    return sum(terms, Fraction(0)) / exact_beta(alpha, beta)


@given(
    hits=st.integers(-1, 65),
    total=st.integers(0, 60),
    alpha=st.integers(1, 40),
    beta=st.integers(1, 40),
)
def test_the_beta_binomial_tail_is_the_sum_of_its_terms(hits: int, total: int, alpha: int, beta: int) -> None:
    """Against the same sum in exact fractions, to ten digits."""
    exact = float(exact_tail(hits, total, alpha, beta))
    assert beta_binomial_tail(hits, total, alpha, beta) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_the_beta_binomial_tail_of_many_trials_stays_exact_and_small() -> None:
    """Half of a million trials at a rate of one half; ten times a rate of one percent is hardly possible."""
    assert beta_binomial_tail(500_000, 1_000_000, 5e8, 5e8) == pytest.approx(0.5, abs=1e-3)
    assert 0 < beta_binomial_tail(20, 200, 100.0, 9_900.0) < 1e-11


@pytest.mark.parametrize(
    ("t", "degrees", "tail"),
    [
        (63.657, 1, 0.005),
        (4.303, 2, 0.025),
        (3.182, 3, 0.025),
        (7.173, 4, 0.001),
        (2.262, 9, 0.025),
        (3.579, 19, 0.001),
        (2.576, 100_000, 0.005),
    ],
)
def test_students_tail_is_that_of_the_tables(t: float, degrees: int, tail: float) -> None:
    """Critical values as every table of the t distribution has them."""
    assert student_tail(t, degrees) == pytest.approx(tail, rel=3e-3)
    assert student_tail(-t, degrees) == pytest.approx(1 - tail, rel=1e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 8, 19, 27])
def test_students_tail_is_the_integral_of_its_density(degrees: int) -> None:
    """For odd and even degrees, also far out."""
    at = np.linspace(2.5, 4_000, 4_000_001)
    density = np.exp(
        math.lgamma((degrees + 1) / 2)
        - math.lgamma(degrees / 2)
        - 0.5 * math.log(degrees * math.pi)
        - (degrees + 1) / 2 * np.log1p(at**2 / degrees)
    )
    area = float(np.trapezoid(density, at))
    assert student_tail(2.5, degrees) - student_tail(4_000, degrees) == pytest.approx(area, rel=1e-4)


@pytest.mark.parametrize(("degrees", "quantile"), [(5, 1.1455), (7, 2.1673), (10, 3.9403), (19, 10.117)])
def test_the_chi_square_quantile_is_near_that_of_the_tables(degrees: int, quantile: float) -> None:
    """The 5 % point; two percent are more than enough for a bound."""
    assert chi_square_quantile(0.05, degrees) == pytest.approx(quantile, rel=0.02)


def test_holm_rejects_step_by_step() -> None:
    """Holm's own kind of example: 0.01 <= 0.05/4, 0.013 <= 0.05/3, but 0.04 > 0.05/2."""
    assert holm([0.04, 0.01, 0.2, 0.013], 0.05) == [False, True, False, True]
    assert holm([], 0.05) == []


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_rejects_the_smallest_and_at_least_what_bonferroni_does(p_values: list[float]) -> None:
    """Never a larger p value without a smaller one, and never less than the plain correction."""
    rejected = holm(p_values, 0.05)
    kept = [p for p, no in zip(p_values, rejected, strict=True) if not no]
    gone = [p for p, no in zip(p_values, rejected, strict=True) if no]
    assert max(gone, default=0.0) <= min(kept, default=1.0)
    assert all(no for p, no in zip(p_values, rejected, strict=True) if p <= 0.05 / len(p_values))


def test_a_rate_is_learnt_without_the_day_that_was_an_incident() -> None:
    """Nineteen days at two percent and one at forty: two percent are expected."""
    model = fit_rate([20] * 19 + [400], [1_000] * 20)
    assert model.windows == 19
    assert model.expected == pytest.approx(0.02, rel=0.01)
    assert model.p_above(100, 1_000) < 1e-9
    assert model.p_above(24, 1_000) > 0.1


def test_a_rate_that_differs_from_day_to_day_is_given_room() -> None:
    """The same count is improbable where every day is alike, and common where days differ."""
    steady = fit_rate([50] * 20, [1_000] * 20)
    restless = fit_rate([30, 70] * 10, [1_000] * 20)
    assert steady.expected == pytest.approx(restless.expected)
    assert steady.p_above(90, 1_000) < 1e-3
    assert restless.p_above(90, 1_000) > 10 * steady.p_above(90, 1_000)


def test_a_rate_that_never_occurred_is_not_impossible() -> None:
    """No error in a thousand requests does not make one error an incident."""
    model = fit_rate([0] * 20, [50] * 20)
    assert model.p_above(1, 50) > 0.01
    assert model.p_above(10, 50) < 1e-6


def test_a_level_is_learnt_without_the_day_that_was_an_incident() -> None:
    """A day at a hundred times the spend neither shifts what is expected nor widens it."""
    days = [10.0, 11.0, 9.5, 10.5, 9.0, 10.2, 9.8, 11.2]
    model = fit_level([*days, 1_000.0], least_deviation=0.1)
    assert model.windows == len(days)
    assert model.expected == pytest.approx(10.1, rel=0.02)
    assert model.p_above(math.log(30)) < 1e-4
    assert model.p_below(math.log(3)) < 1e-4
    assert model.p_above(math.log(11)) > 0.1


def test_a_level_that_never_moved_keeps_a_least_deviation() -> None:
    """Twenty equal days are luck: one percent more is not an anomaly."""
    model = fit_level([5.0] * 20, least_deviation=0.1)
    assert model.p_above(math.log(5.05)) > 0.3


def test_p_values_of_a_level_are_uniform_where_nothing_happens() -> None:
    """Of 4,000 quiet windows about 1 % fall below 1 %: the stated probabilities are what they say."""
    random = np.random.default_rng(7)
    below = 0
    for _ in range(4_000):
        *history, now = np.exp(random.normal(2.0, 0.3, 21))
        below += fit_level(history, least_deviation=0.1).p_above(math.log(now)) < 0.01
    assert 20 <= below <= 60

"""Rate limits: buckets that refill evenly."""

from headrace.simulator.allowance import Allowance
from headrace.simulator.behaviour import RateLimits


def test_requests_run_out_and_refill() -> None:
    """A minute's worth passes at once; the next must wait for its share of a minute."""
    allowance = Allowance(RateLimits(requests_per_minute=2), 0.0)
    assert [allowance.take(1, 0.0).wait_s for _ in range(3)] == [None, None, 30.0]
    assert allowance.take(1, 30.0).wait_s is None
    assert allowance.take(1, 31.0).wait_s == 29.0


def test_tokens_run_out() -> None:
    """Tokens are limited on their own; the refusal says which of the two is scarce."""
    allowance = Allowance(RateLimits(tokens_per_minute=600), 0.0)
    assert allowance.take(500, 0.0).remaining_tokens == 100
    standing = allowance.take(200, 0.0)
    assert (standing.wait_s, standing.scarce) == (10.0, "tokens")
    assert allowance.take(200, 10.0).wait_s is None


def test_a_call_larger_than_the_limit_passes_when_the_bucket_is_full() -> None:
    """Nothing waits for ever."""
    allowance = Allowance(RateLimits(tokens_per_minute=60), 0.0)
    assert allowance.take(1_000, 0.0).wait_s is None
    assert allowance.take(1_000, 0.0).wait_s == 60.0
    assert allowance.take(1_000, 60.0).wait_s is None


def test_without_limits_nothing_waits() -> None:
    """The figures in the headers go down, but no call is refused."""
    allowance = Allowance(RateLimits(), 0.0)
    standings = [allowance.take(10**9, 0.0) for _ in range(40_000)]
    assert all(standing.wait_s is None for standing in standings)
    assert (standings[-1].remaining_requests, standings[-1].remaining_tokens) == (0, 0)

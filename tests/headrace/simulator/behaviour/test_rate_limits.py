"""Rate limits: buckets that refill evenly."""

from headrace.simulator.behaviour.rate_limits import ModelRateLimit
from headrace.simulator.behaviour.rules import RateLimits


def test_requests_run_out_and_refill() -> None:
    """A minute's worth passes at once; the next must wait for its share of a minute."""
    limit = ModelRateLimit(RateLimits(requests_per_minute=2), 0.0)
    assert [limit.admit(1, 0.0) for _ in range(3)] == [
        (0.0, "requests"),
        (0.0, "requests"),
        (30.0, "requests"),
    ]
    assert limit.admit(1, 30.0)[0] == 0.0
    assert limit.admit(1, 31.0)[0] == 29.0


def test_tokens_run_out() -> None:
    """Tokens are limited on their own; the answer says which of the two is scarce."""
    limit = ModelRateLimit(RateLimits(requests_per_minute=60, tokens_per_minute=600), 0.0)
    assert limit.admit(500, 0.0)[0] == 0.0
    assert limit.admit(200, 0.0) == (10.0, "tokens")
    assert limit.admit(200, 10.0)[0] == 0.0


def test_a_call_larger_than_the_limit_passes_when_the_bucket_is_full() -> None:
    """Nothing waits for ever."""
    limit = ModelRateLimit(RateLimits(tokens_per_minute=60), 0.0)
    assert [limit.admit(1_000, at)[0] for at in (0.0, 0.0, 60.0)] == [0.0, 60.0, 0.0]


def test_without_limits_nothing_waits() -> None:
    """However many call."""
    limit = ModelRateLimit(RateLimits(), 0.0)
    assert {limit.admit(10**9, 0.0)[0] for _ in range(1_000)} == {0.0}

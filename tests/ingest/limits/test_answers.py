"""The headers and the 429 of a limited caller."""

from datetime import UTC, datetime

import pytest

from ingest.limits.answers import limit_headers, too_many
from streams.control.specs import Bounds
from streams.limits.limiter import LimitExceeded, Standing, Take
from streams.limits.subjects import LimitKind, LimitSubject

NOW = datetime(2026, 12, 1, 10, 0, 0, tzinfo=UTC)


def standing(used: int = 3, scope: str = "user", whole_in_s: float = 59.8, **bounds: int) -> Standing:
    subject = LimitSubject(scope=scope, name="ada", tier="free", bounds=Bounds(**bounds), digest=scope)
    return Standing(subject=subject, requests=used, tokens=used, concurrent=used, whole_in_s=whole_in_s)


def refused(over: Standing, kind: LimitKind, wait_s: float | None, *, tokens: int = 0) -> LimitExceeded:
    take = Take(subject=over.subject, tokens=tokens)
    return LimitExceeded(standings=(over,), over=over, kind=kind, take=take, wait_s=wait_s)


def test_the_tightest_limit_is_told() -> None:
    """The one with the least left, by each kind; a limit that does not exist has no header."""
    standings = (
        standing(3, requests_per_minute=10),
        standing(58, scope="address", requests_per_minute=60, whole_in_s=0.25),
    )
    assert limit_headers(standings, anthropic=False, now=NOW) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "250ms",
    }


def test_anthropics_clients_have_their_own_names() -> None:
    """Beside OpenAI's, with the time of the reset instead of its distance."""
    found = limit_headers([standing(1200, tokens_per_minute=1000)], anthropic=True, now=NOW)
    assert found == {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "0",  # more was used than expected: never below
        "x-ratelimit-reset-tokens": "59.8s",
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-12-01T10:00:59Z",
    }


@pytest.mark.parametrize(
    ("wait_s", "seconds", "ms"), [(12.3004, "13", "12301"), (0.0, "1", "1"), (60, "60", "60000")]
)
def test_when_to_come_back(wait_s: float, seconds: str, ms: str) -> None:
    """Never too early: rounded up, and above zero."""
    fault = too_many(refused(standing(10, requests_per_minute=10), LimitKind.REQUESTS, wait_s))
    assert (fault.status, fault.error.type, fault.error.code) == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )
    assert fault.headers == {"Retry-After": seconds, "retry-after-ms": ms}


def test_the_message_names_the_limit_its_subject_and_its_size() -> None:
    """And `param` the record that sets it."""
    fault = too_many(refused(standing(10, requests_per_minute=10), LimitKind.REQUESTS, 3.5))
    assert fault.error.message == (
        "the tier 'free' allows each user 10 requests a minute; the user 'ada' has 10, and this would be 1 "
        "more: come back in 4 s"
    )
    assert fault.error.param == "limits.free.per_user.requests_per_minute"
    fault = too_many(refused(standing(2, concurrent_requests=2), LimitKind.CONCURRENT, 1))
    assert fault.error.message.startswith("the tier 'free' allows each user 2 requests at a time;")
    assert fault.error.param == "limits.free.per_user.concurrent_requests"


def test_what_can_never_pass_is_not_tried_again() -> None:
    """The SDKs would try it twice more."""
    over = standing(0, tokens_per_minute=20_000)
    fault = too_many(refused(over, LimitKind.TOKENS, None, tokens=21_000))
    assert "asks for 21,000 at once, which can never pass" in fault.error.message
    assert fault.error.code == "request_larger_than_limit"
    assert fault.headers == {"x-should-retry": "false"}

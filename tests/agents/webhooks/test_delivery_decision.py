"""What a receiver's answer means, and what follows: tables."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from agents.webhooks.posting import (
    SCHEDULE_S,
    DeliveryResult,
    Done,
    Rejected,
    RetryDelivery,
    TryLater,
    decide,
    result_of_response,
)
from tests.fakes.envelopes import NOW


def test_every_2xx_is_a_delivery() -> None:
    """Whatever its body says."""
    found = [result_of_response(status, {}, now=NOW) for status in (200, 202, 204)]
    assert found == [Done("delivered")] * 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_later(status: int) -> None:
    """The receiver is away or overloaded."""
    assert result_of_response(status, {}, now=NOW) == TryLater(f"it answered {status}")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 422])
def test_never(status: int) -> None:
    """The receiver says that it is wrong; it would be wrong again. A redirect might lead anywhere."""
    assert isinstance(result_of_response(status, {}, now=NOW), Rejected)


def test_gone_is_an_end() -> None:
    """As the specification has it."""
    assert result_of_response(410, {}, now=NOW) == Done("gone")


@pytest.mark.parametrize(
    ("value", "after_s"),
    [
        ("7", 7.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("soon", 0.0),
        ("-1", 0.0),
    ],
)
def test_retry_after(value: str, after_s: float) -> None:
    """Seconds or a date; nonsense counts as nothing."""
    assert result_of_response(503, {"retry-after": value}, now=NOW) == TryLater("it answered 503", after_s)


def decided(answer: DeliveryResult, attempt: int = 1, jitter: float = 0.5) -> object:
    return decide(answer, attempt, attempts=9, jitter=lambda: jitter)


def test_what_ends_ends() -> None:
    """Delivered, gone, or refused for good: there is no further try."""
    assert decided(Done("delivered")) == Done("delivered")
    assert decided(Done("gone")) == Done("gone")
    assert decided(Rejected("it answered 404")) == Rejected("it answered 404")


def test_the_waits_grow_as_scheduled() -> None:
    """One after each failed try but the last."""
    waits = [decided(TryLater("x"), attempt) for attempt in range(1, 9)]
    assert waits == [RetryDelivery(seconds, "x") for seconds in SCHEDULE_S]
    assert decided(TryLater("x"), 9) == Rejected("x; that was try 9 of 9")
    assert 9 * 3600 < sum(SCHEDULE_S) < 12 * 3600


def test_more_tries_than_the_schedule_has() -> None:
    """The last wait repeats."""
    assert decide(TryLater("x"), 15, attempts=20, jitter=lambda: 0.5) == RetryDelivery(SCHEDULE_S[-1], "x")


def test_waits_are_spread() -> None:
    """By a quarter to either side."""
    assert [decided(TryLater("x"), 3, jitter) for jitter in (0.0, 1.0)] == [
        RetryDelivery(22.5, "x"),
        RetryDelivery(37.5, "x"),
    ]


def test_the_receivers_wish_counts() -> None:
    """Where it asks for more than the schedule; but not for a week."""
    assert decided(TryLater("x", 45.0)) == RetryDelivery(45.0, "x")
    assert decided(TryLater("x", 0.1)) == RetryDelivery(1.0, "x")
    assert decided(TryLater("x", 10.0**9)) == RetryDelivery(SCHEDULE_S[-1], "x")

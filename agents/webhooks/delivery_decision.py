"""What a receiver's response means, and whether the webhook is sent again: decisions without I/O."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from agents.providers.error_responses import retry_after_s
from streams.backoff import spread

#: The waits after each failed try, in seconds; the last one repeats. Nine tries take 10 hours: the outage of
#: a night, as the specification of Standard Webhooks advises.
SCHEDULE_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 10_800.0, 21_600.0)
#: Statuses after which another try makes sense, besides 5xx: Request Timeout, Too Early, Too Many Requests.
_LATER = frozenset({408, 425, 429})
_GONE = 410


class Done(msgspec.Struct, frozen=True):
    """It has ended: ``delivered`` (any 2xx), or ``gone`` (410: the receiver wants no more webhooks)."""

    outcome: Literal["delivered", "gone"]


class Rejected(msgspec.Struct, frozen=True):
    """It cannot be delivered, now or later: keep it as a dead letter."""

    reason: str


class TryLater(msgspec.Struct, frozen=True):
    """The receiver did not answer, or asks for a pause of so many seconds."""

    reason: str
    after_s: float = 0.0


class RetryDelivery(msgspec.Struct, frozen=True):
    """Try again after so many seconds."""

    delay_s: float
    reason: str


DeliveryResult = Done | Rejected | TryLater


def result_of_response(status: int, headers: Mapping[str, str], *, now: datetime) -> DeliveryResult:
    """Return what a response means. `now` is from when a date in its `Retry-After` counts."""
    if 200 <= status < 300:
        return Done("delivered")
    if status == _GONE:
        return Done("gone")
    if status in _LATER or status >= 500:
        return TryLater(f"it answered {status}", retry_after_s(headers, now) or 0.0)
    if 300 <= status < 400:
        return Rejected(f"it answered {status}: redirects are not followed; name the final URL")
    return Rejected(f"it answered {status}")


def decide(
    result: DeliveryResult, attempt: int, *, attempts: int, jitter: Callable[[], float]
) -> Done | Rejected | RetryDelivery:
    """Return what becomes of a webhook after try number `attempt` (from 1) of `attempts`.

    `jitter` returns random numbers from 0 to 1, so that webhooks do not come back together.
    """
    if not isinstance(result, TryLater):
        return result
    if attempt >= attempts:
        return Rejected(f"{result.reason}; that was try {attempt} of {attempts}")
    wait_s = spread(SCHEDULE_S[min(attempt, len(SCHEDULE_S)) - 1], jitter=0.25, luck=jitter())
    return RetryDelivery(max(wait_s, min(result.after_s, SCHEDULE_S[-1])), result.reason)

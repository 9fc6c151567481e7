"""Waiting for Redis where something was already paid for.

Who waits keeps its place among the records that the stage works on, until the request's deadline at most.
That costs nobody anything: without Redis nothing new can be claimed, so no other request could use the place.
And when Redis is back, the place is free within `RETRY_S`.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from agents.paid_calls.ports import Clock
from streams.errors import StoreUnavailable

RETRY_S = 0.5

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def patiently(
    step: Callable[[], Awaitable[T]],
    *,
    remaining_s: Callable[[], float],
    clock: Clock,
    event: str,
    request_id: str,
) -> T:
    """Return what `step` returns, trying again until the deadline while Redis is away.

    Args:
        step: one step of the journal; doing it twice must do no harm.
        remaining_s: the time until the deadline, in seconds.
        clock: waits.
        event: what each wait is called in the log.
        request_id: for the log.

    Raises:
        StoreUnavailable: Redis did not come back in time.
    """
    while True:
        try:
            return await step()
        except StoreUnavailable as fault:
            if remaining_s() <= RETRY_S:
                raise
            log.warning(event, request_id=request_id, reason=str(fault))
            await clock.sleep(RETRY_S)

"""A second try for the calls to Redis without which no request is accepted."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from streams.backoff import Backoff, retry
from streams.errors import StoreDenied, StoreFull, StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_BACKOFF = Backoff(first_s=0.05)


async def with_second_try(step: Callable[[], Awaitable[T]]) -> T:
    """Return what `step` returns, tried once more if Redis does not answer in time.

    On a busy machine a command runs into its time-out although Redis has answered it: this process had no
    processor for so long. A second failure means an outage, which the client should hear of.

    Args:
        step: may be done twice. Every script of the registry may: registering, the newest run, an SDK's call.

    Raises:
        StoreUnavailable: Redis does not answer, is full, or refuses the user.
    """
    return await retry(step, on=StoreUnavailable, attempts=2, backoff=_BACKOFF, on_failure=_note)


def _note(failures: int, fault: StoreUnavailable) -> None:
    if isinstance(fault, StoreFull | StoreDenied):
        raise fault
    log.warning("registry.tried_again", failures=failures, error=str(fault))

"""Waiting before another try: exponential backoff with jitter, and a loop that uses it.

    async def ping() -> str: ...

    answer = await retry(ping, on=StoreUnavailable, attempts=5, on_failure=log_it)

A loop of several calls a round computes the wait alone: `await sleep(BACKOFF.wait_s(failures))`.
Cancelling the task ends any wait at once.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import msgspec

from streams.errors import TransientFault

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

#: Waits for a number of seconds. It returns False if the wait was cut short: then there is no next try.
Sleep: TypeAlias = Callable[[float], Awaitable[bool | None]]

#: 2**30 times the first wait is beyond any limit; more would overflow a float in the end.
_MAX_DOUBLINGS = 30


def spread(wait_s: float, *, jitter: float, luck: float) -> float:
    """Return `wait_s` times a factor from `1 - jitter` to `1 + jitter`, chosen by `luck`, which is 0 to 1.

    Clients that failed together then do not come back together.
    """
    return wait_s * (1 + jitter * (2 * luck - 1))


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of waits that doubles with each failure, up to a limit.

    `Backoff(first_s=0.1, max_s=2.0, jitter=0)` waits 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, … seconds; for `jitter`
    see `spread`.
    """

    first_s: float = 0.1
    max_s: float = 2.0
    jitter: float = 0.25

    def wait_s(self, failures: int, luck: Callable[[], float] = random.random) -> float:
        """Return how long to wait after so many failures in a row, in seconds; 0 after none."""
        if failures < 1:
            return 0.0
        doubled: float = self.first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        return spread(min(doubled, self.max_s), jitter=self.jitter, luck=luck())


async def _sleep(seconds: float) -> None:  # looks `asyncio.sleep` up at each call: tests replace it
    await asyncio.sleep(seconds)


async def retry(
    step: Callable[[], Awaitable[T]],
    *,
    on: type[E] | tuple[type[E], ...] = TransientFault,  # type: ignore[assignment]  # mypy cannot bind a default to E
    backoff: Backoff = Backoff(),  # noqa: B008  # frozen
    attempts: float = math.inf,
    remaining_s: Callable[[], float] = lambda: math.inf,
    on_failure: Callable[[int, E], None] = lambda _failures, _fault: None,
    sleep: Sleep = _sleep,
    luck: Callable[[], float] = random.random,
) -> T:
    """Return what `step` returns, trying again while it raises `on`.

    A step must do no harm when it is made twice. The last fault is raised where `attempts` are used up, where
    the wait would go beyond `remaining_s` (the seconds until the deadline), or where `sleep` returns False.
    `on_failure` is called before each wait, with the number of failures so far and the fault.
    """
    failures = 0
    while True:
        try:
            return await step()
        except on as fault:
            failures += 1
            wait_s = backoff.wait_s(failures, luck)
            if failures >= attempts or wait_s >= remaining_s():
                raise
            on_failure(failures, fault)
            if await sleep(wait_s) is False:
                raise

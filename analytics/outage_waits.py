"""Waiting out somebody else's outage."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from streams.errors import TransientFault

T = TypeVar("T")

_FIRST_S = 0.2
_LONGEST_S = 5.0
_CANCEL_AGAIN_S = 2.0


class SaysWhatIsAway(Protocol):
    """What tells the outside how a process is doing: `analytics.sink.status.SinkStatus`, for one."""

    def failed(self, dependency: str, error: str) -> None:
        """Note that a dependency did not answer."""

    def recovered(self, dependency: str) -> None:
        """Note that a dependency answered."""


def delay_s(attempt: int, luck: float) -> float:
    """Return how long to wait after the failed try number `attempt` (from 0), in seconds.

    It doubles up to five seconds, and is spread over its upper half by `luck` (0 to 1).
    """
    longest = min(_FIRST_S * 2.0 ** min(attempt, 10), _LONGEST_S)
    return longest * (0.5 + luck / 2)


async def patiently(call: Callable[[], Awaitable[T]], *, dependency: str, status: SaysWhatIsAway) -> T:
    """Return what `call` returns, after as many tries as it takes.

    There is no last try: giving up would lose what is to be stored. `status` says meanwhile what is away.
    Everything but a `TransientFault` is raised.
    """
    attempt = 0
    while True:
        try:
            answer = await call()
        except TransientFault as fault:
            status.failed(dependency, str(fault))
            await asyncio.sleep(delay_s(attempt, random.random()))
            attempt += 1
        else:
            status.recovered(dependency)
            return answer


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Run `work`, and cancel it when `stop` is set. Return whether it was finished."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        for task in (working, stopping):
            await ended(task)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return when it has ended.

    Again and again, because Python 3.11's `asyncio.wait_for` swallows a cancellation that arrives together
    with the result it waits for, and a loop around it would go on for ever.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_AGAIN_S)

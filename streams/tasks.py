"""Ends and races of asyncio tasks.

finished = await run_unless(until_disconnect(request.receive), listener.until_reply())
if finished is None:
    return  # the client has left; `until_reply` is cancelled and over
reply = finished.value
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import msgspec
from starlette.types import Receive

T = TypeVar("T")

#: A task that has swallowed its cancellation is cancelled again after this time, in seconds.
_CANCEL_AGAIN_S = 0.5


class Finished(msgspec.Struct, Generic[T], frozen=True):
    """The result of work that came to its end."""

    value: T


async def cancel_and_wait(*tasks: "asyncio.Future[Any] | None") -> None:
    """Cancel tasks and return when all of them have ended.

    Each is cancelled until it has ended: Python 3.11's `asyncio.wait_for`, which aiokafka uses, swallows a
    cancellation that arrives together with the result it waits for. What a task raises because it is
    cancelled is dropped. A fault that it had before is left for whoever asks for its result.
    """
    running = {task for task in tasks if task is not None and not task.done()}
    pending = running
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    for task in running:
        if not task.cancelled():
            task.exception()  # asked for, so that Python does not complain that nobody did


async def run_unless(
    interrupt: Coroutine[Any, Any, object], work: Coroutine[Any, Any, T]
) -> Finished[T] | None:
    """Run `work` until it ends or `interrupt` does. Both have ended on return, whatever happens.

    `interrupt` waits for what makes the work needless: a client that leaves, a process that stops. Return the
    work's result, or None where it was interrupted; raise what either of them raises.
    """
    working = asyncio.ensure_future(work)
    interrupting = asyncio.ensure_future(interrupt)
    try:
        await asyncio.wait((working, interrupting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return Finished(working.result())
        interrupting.result()
        return None
    finally:
        await cancel_and_wait(working, interrupting)


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Run `work`, and cancel it when `stop` is set. Return whether it came to its end."""
    return await run_unless(stop.wait(), work) is not None


async def event_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for so many seconds at most. Return whether it is set."""
    if event.is_set():  # no timer is needed
        return True
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def until_disconnect(receive: Receive) -> None:
    """Return when the HTTP client has left; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


_MAX_TASKS = 10_000


class DetachedTasks:
    """Tasks beside the HTTP requests. Each ends itself within `timeout_s`, and so does `close`."""

    def __init__(self, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """Start `work`; False if too much runs already, and it is dropped."""
        if len(self._tasks) >= _MAX_TASKS:
            work.close()
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Wait for the work under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.timeout_s)

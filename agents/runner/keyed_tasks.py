"""Tasks for records: a bounded number at once, and records with the same key one after the other."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


class KeyedTasks:
    """At most `limit` records in flight, and records with the same key strictly one after the other.

    Args:
        limit: how many records are worked on at once.
        on_fault: called when work raises, which only a bug can cause. The record stays unacknowledged: the
            caller should end the process, so that it is delivered again.
    """

    def __init__(self, limit: int, on_fault: Callable[[BaseException], None]) -> None:
        self._on_fault = on_fault
        self._slots = asyncio.Semaphore(limit)
        self._last: dict[bytes, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """How many records are being worked on."""
        return len(self._tasks)

    async def submit(self, key: bytes | None, work: Callable[[], Awaitable[None]]) -> None:
        """Start `work` once a slot is free, and after all earlier work with the same key."""
        await self._slots.acquire()
        before = self._last.get(key) if key is not None else None
        task = asyncio.ensure_future(self._run(before, work))
        self._tasks.add(task)
        if key is not None:
            self._last[key] = task
        task.add_done_callback(lambda done: self._done(key, done))

    async def _run(self, before: asyncio.Task[None] | None, work: Callable[[], Awaitable[None]]) -> None:
        if before is not None:
            await asyncio.wait([before])  # whatever came of it; cancelling us does not cancel it
        await work()

    def _done(self, key: bytes | None, task: asyncio.Task[None]) -> None:
        self._slots.release()
        self._tasks.discard(task)
        if key is not None and self._last.get(key) is task:
            del self._last[key]
        if not task.cancelled() and (fault := task.exception()):
            log.error("record.abandoned", error=repr(fault))
            self._on_fault(fault)

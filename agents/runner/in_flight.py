"""The records that a consumer works on: a bounded number at once, in order by key, and their progress."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from agents.stage import Record

log = structlog.get_logger(__name__)


class KeyedTasks:
    """At most `limit` records in flight, and records with the same key strictly one after the other.

    `on_fault` is called when work raises, which only a bug can cause. The record stays unacknowledged: the
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


class RecordWork:
    """One record that is being worked on. Whoever works on it notes here what becomes of it."""

    __slots__ = ("allowed_s", "began_at", "is_dead", "place", "put_aside")

    def __init__(self, place: str, began_at: float) -> None:
        self.place = place  # the record's own place in the log
        self.began_at = began_at  # in seconds of the watchdog's clock
        self.allowed_s = 0.0  # how long it may take beyond what any record may
        self.put_aside = False  # whether it went to the retry topic
        self.is_dead = False  # whether it became a dead letter

    def may_take(self, seconds: float) -> None:
        """Allow the work so much time: it waits for a slow provider, or for a time of day."""
        self.allowed_s = max(self.allowed_s, seconds)


class RecordCounts(msgspec.Struct, kw_only=True):
    """How many records came to which end since the process began."""

    acked: int = 0
    put_aside: int = 0
    dead_letters: int = 0
    handed_back: int = 0


class ConsumerProgress:
    """The records in flight of one consumer, and how many are done. `now` is the watchdog's clock (s)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._in_flight: dict[int, RecordWork] = {}
        self.counts = RecordCounts()
        self.last_begin_at = now()
        self.last_ack_at: float | None = None

    def begin(self, record: Record) -> RecordWork:
        """Note that the work on a record begins."""
        work = RecordWork(record.place, self._now())
        self._in_flight[id(work)] = work
        self.last_begin_at = work.began_at
        return work

    def end(self, work: RecordWork, *, acked: bool) -> None:
        """Note that the work is over: its record was acknowledged, or handed back to be delivered again."""
        del self._in_flight[id(work)]
        self.counts.acked += acked
        self.counts.put_aside += work.put_aside
        self.counts.dead_letters += work.is_dead
        self.counts.handed_back += not acked
        if acked:
            self.last_ack_at = self._now()

    def abandon(self, work: RecordWork) -> None:
        """Note that the work was broken off: by a fault that ends the process, or with its task."""
        self._in_flight.pop(id(work), None)

    @property
    def in_flight(self) -> tuple[RecordWork, ...]:
        """The records that are being worked on, the oldest first."""
        return tuple(self._in_flight.values())

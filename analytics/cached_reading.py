"""Caches readings of a slow source: however many callers ask, it is read once at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
import structlog

from streams.errors import ClickHouseUnavailable, KafkaUnavailable
from streams.tasks import cancel_and_wait

log = structlog.get_logger(__name__)

T = TypeVar("T")


class SourceReading(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A reading. Where the source did not answer, `value` is None and `fault` says why."""

    value: T | None = None
    fault: str | None = None


@dataclass(eq=False)
class CachedReading(Generic[T]):
    """A source that is read on demand; an answer is given again for `fresh_for_s`.

    A reading that takes longer than the timeout goes on, and no other one begins meanwhile: callers then get
    a fault.
    """

    name: str
    read: Callable[[], Awaitable[T]]
    fresh_for_s: float
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    _running: asyncio.Task[SourceReading[T]] | None = field(default=None, init=False)
    _read_at: float = field(default=0.0, init=False)
    _away: bool = field(default=False, init=False)

    async def get(self) -> SourceReading[T]:
        """Return what the source says now, or said less than `fresh_for_s` ago."""
        running = self._running
        if running is None or (running.done() and self.clock() - self._read_at >= self.fresh_for_s):
            running = self._running = asyncio.create_task(self._ask(), name=f"reading.{self.name}")
        await asyncio.wait((running,), timeout=self.timeout_s)
        if not running.done():
            return SourceReading(fault=f"no answer within {self.timeout_s:g} s")
        return running.result()

    async def close(self) -> None:
        """Cancel a reading that is under way."""
        running, self._running = self._running, None
        if running is not None:
            await cancel_and_wait(running)

    async def _ask(self) -> SourceReading[T]:
        try:
            value = await self.read()
        except (KafkaUnavailable, ClickHouseUnavailable) as fault:
            if not self._away:  # told when it begins, not at each look
                log.warning("reading.no_answer", source=self.name, error=str(fault))
            self._away = True
            return SourceReading(fault=str(fault))
        else:
            self._away = False
            return SourceReading(value=value)
        finally:
            self._read_at = self.clock()

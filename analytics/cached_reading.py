"""Caches readings of a slow source: however many callers ask, it is read once, and not too often."""

import asyncio
import time
from collections.abc import Awaitable, Callable
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


class CachedReading(Generic[T]):
    """A source that is read on demand.

    A reading that takes longer than the timeout goes on, and no other one begins meanwhile: callers then get
    a fault.

    `read` raises `KafkaUnavailable` or `ClickHouseUnavailable` where there is no answer; an answer is given
    again for `fresh_for_s`.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[T]],
        *,
        fresh_for_s: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._read = read
        self._fresh_for_s = fresh_for_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._running: asyncio.Task[SourceReading[T]] | None = None
        self._read_at = 0.0
        self._away = False

    async def get(self) -> SourceReading[T]:
        """Return what the source says now, or said less than `fresh_for_s` ago."""
        running = self._running
        if running is None or (running.done() and self._clock() - self._read_at >= self._fresh_for_s):
            running = self._running = asyncio.create_task(self._ask(), name=f"reading.{self._name}")
        await asyncio.wait((running,), timeout=self._timeout_s)
        if not running.done():
            return SourceReading(fault=f"no answer within {self._timeout_s:g} s")
        return running.result()

    async def close(self) -> None:
        """Cancel a reading that is under way."""
        running, self._running = self._running, None
        if running is not None:
            await cancel_and_wait(running)

    async def _ask(self) -> SourceReading[T]:
        try:
            value = await self._read()
        except (KafkaUnavailable, ClickHouseUnavailable) as fault:
            if not self._away:  # told when it begins, not at each look
                log.warning("reading.no_answer", source=self._name, error=str(fault))
            self._away = True
            return SourceReading(fault=str(fault))
        else:
            self._away = False
            return SourceReading(value=value)
        finally:
            self._read_at = self._clock()

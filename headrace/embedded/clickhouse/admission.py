"""How many statements run at once, and how many may wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace.embedded.clickhouse.faults import QueryFailed

_CODE_TOO_MANY_SIMULTANEOUS_QUERIES = 202


class Admission:
    """A fair queue: first come, first served, and nobody waits for ever.

    Args:
        max_running: Statements at once.
        max_waiting: Statements that wait; further ones are refused at once.
        max_wait_s: Seconds until one that waits is refused.
    """

    def __init__(self, *, max_running: int, max_waiting: int, max_wait_s: float) -> None:
        self._slots = asyncio.Semaphore(max_running)
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot while the block runs.

        Raises:
            QueryFailed: TOO_MANY_SIMULTANEOUS_QUERIES.
        """
        await self._acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def _acquire(self) -> None:
        if self._slots.locked() and self._waiting >= self._max_waiting:
            raise self._refusal()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise self._refusal() from None
        finally:
            self._waiting -= 1

    def _refusal(self) -> QueryFailed:
        return QueryFailed.of(
            _CODE_TOO_MANY_SIMULTANEOUS_QUERIES,
            "TOO_MANY_SIMULTANEOUS_QUERIES",
            f"Too many simultaneous queries. Maximum: {self._max_running}; try again later",
        )

"""Timeouts by phase: connect, first token, between two tokens, total."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TypeVar

from agents.providers.faults import ProviderTimeout
from agents.providers.port import Timeouts

T = TypeVar("T")


class Pace:
    """The clock of one call. It starts when it is made."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._ends_at = asyncio.get_running_loop().time() + timeouts.total_s
        self._first_token_by = asyncio.get_running_loop().time() + timeouts.first_token_s
        self._begun = False

    async def until_first_token(self, work: Awaitable[T]) -> T:
        """Wait for `work`, which belongs to the time before the first token.

        Raises:
            ProviderTimeout: it took too long; `work` was cancelled.
        """
        return await self._within(work, "first_token", self._first_token_by)

    async def whole(self, work: Awaitable[T]) -> T:
        """Wait for `work`, which brings the whole answer at once.

        Raises:
            ProviderTimeout: it took too long; `work` was cancelled.
        """
        return await self._within(work, "total", self._ends_at)

    async def each(self, chunks: AsyncIterator[T]) -> AsyncGenerator[T]:
        """Yield the chunks of a stream, each within its time.

        Raises:
            ProviderTimeout: the first, or the next, chunk took too long.
        """
        while True:
            try:
                chunk = await self._next(chunks)
            except StopAsyncIteration:
                return
            yield chunk

    async def _next(self, chunks: AsyncIterator[T]) -> T:
        if not self._begun:
            chunk = await self._within(anext(chunks), "first_token", self._first_token_by)
            self._begun = True
            return chunk
        by = asyncio.get_running_loop().time() + self._timeouts.between_tokens_s
        return await self._within(anext(chunks), "between_tokens", by)

    async def _within(self, work: Awaitable[T], phase: str, by: float) -> T:
        if self._ends_at <= by:
            phase, by = "total", self._ends_at
        try:
            async with asyncio.timeout_at(by) as limit:
                return await work
        except TimeoutError as fault:
            if not limit.expired():
                raise
            raise ProviderTimeout(phase, after_s=self._timeouts.of(phase)) from fault

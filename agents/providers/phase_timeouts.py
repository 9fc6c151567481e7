"""The timeout of each phase of a call: first token, between two tokens, total."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TypeVar

from agents.providers.faults import ProviderTimeout
from agents.providers.provider import Timeouts

T = TypeVar("T")


class PhaseTimeouts:
    """The clock of one call. It starts when it is made.

    The total alone counts where the answer comes whole, that is without `stream`.
    """

    def __init__(self, timeouts: Timeouts, *, stream: bool) -> None:
        now = asyncio.get_running_loop().time()
        self._timeouts = timeouts
        self._stream = stream
        self._ends_at = now + timeouts.total_s
        self._first_token_by = now + timeouts.first_token_s
        self._begun = False

    async def wait(self, work: Awaitable[T]) -> T:
        """Wait for `work` within the call's phase; past its limit cancel it and raise `ProviderTimeout`."""
        phase, by = self._limit()
        try:
            async with asyncio.timeout_at(by) as limit:
                return await work
        except TimeoutError as fault:
            if not limit.expired():
                raise
            raise ProviderTimeout(phase, after_s=self._timeouts.of(phase)) from fault

    async def each(self, chunks: AsyncIterator[T]) -> AsyncGenerator[T]:
        """Yield the chunks of an answer, each within its time, as `wait` does."""
        while True:
            try:
                chunk = await self.wait(anext(chunks))
            except StopAsyncIteration:
                return
            self._begun = True
            yield chunk

    def _limit(self) -> tuple[str, float]:
        phase, by = "first_token", self._first_token_by
        if self._begun:
            by = asyncio.get_running_loop().time() + self._timeouts.between_tokens_s
            phase = "between_tokens"
        return (phase, by) if self._stream and by < self._ends_at else ("total", self._ends_at)

"""What the LLM stage needs from outside."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from agents.stores.journal import BegunCall, Claim, Hold, Look, NotedCalls
from streams.events import CacheMissed, LlmCall
from streams.publisher import Emit, Position


class Clock(Protocol):
    """The time, and waiting for it to pass."""

    def now(self) -> datetime:
        """Return the time, UTC-aware."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, UTC-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class CallJournal(Protocol):
    """The journal of provider calls: see `agents.stores.journal.Journal`."""

    async def claim(
        self,
        request_id: str,
        *,
        record: str,
        instance: str,
        deadline_at: datetime,
        now: datetime,
        replay: int = 0,
    ) -> Claim:
        """Claim a request, or learn why there is nothing to claim."""
        ...

    async def begin_call(self, hold: Hold, call: BegunCall, *, after: int = 0) -> int:
        """Note a call that is about to be made; return its number."""
        ...

    async def end_call(self, hold: Hold, ended: LlmCall) -> None:
        """Note how a call ended that did not bring the result."""
        ...

    async def look(self, holds: Sequence[Hold]) -> list[Look]:
        """Tell of each claim whether it still stands and its request is still wanted."""
        ...

    async def calls(self, request_id: str, *, record: str) -> NotedCalls:
        """Return the calls for a request that `record` holds."""
        ...

    async def finish(self, hold: Hold, result: bytes) -> bool:
        """Store the result; False means that a newer attempt works on the request."""
        ...

    async def sent(self, hold: Hold) -> None:
        """Note that the broker has the result."""
        ...


class DeltaSink(Protocol):
    """Where pieces of answers are published: see `streams.publisher.Publisher`."""

    async def publish(self, emit: Emit) -> Position:
        """Send one record and wait until the broker has it."""
        ...


class StreamGuard(Protocol):
    """Checks one answer as it is written: see `agents.checks.streaming_guard.StreamingGuard`."""

    @property
    def blocked_by(self) -> str | None:
        """The rule that blocked the answer, once one has."""
        ...

    def feed(self, chunk: str) -> str:
        """Take the next chunk and return the text that is safe to publish now."""
        ...

    def finish(self) -> tuple[str, object]:
        """Return the rest that is safe to publish, and the guard's verdict on the whole."""
        ...


GuardFactory = Callable[[CacheMissed], StreamGuard]

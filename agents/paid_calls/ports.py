"""What paid calls need from outside: the journal, the time, ids and random numbers."""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agents.stores.journal import Journal


class Clock:
    """The machine's clock. Tests replace it by one that does not wait."""

    def now(self) -> datetime:
        """Return the time, UTC-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _new_call_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, kw_only=True)
class CallPorts:
    """The ports of one stage's paid calls.

    Attributes:
        journal: where requests are claimed and calls are noted.
        clock: the time.
        new_call_id: mints ids of provider calls.
        jitter: returns random numbers from 0 to 1.
        pause: waits for a number of seconds between two looks for cancelled requests.
    """

    journal: Journal
    clock: Clock = field(default_factory=Clock)
    new_call_id: Callable[[], str] = _new_call_id
    jitter: Callable[[], float] = random.random
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

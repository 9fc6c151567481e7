"""What paid calls need from outside: the journal, the log, the time, ids and random numbers."""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from agents.stores.journal import Journal

log = structlog.get_logger(__name__)


class StageLog:
    """Logs what befalls requests, under the stage's name: `StageLog("llm")("call_failed", …)`."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __call__(self, what: str, request_id: str, *, level: int = logging.WARNING, **more: object) -> None:
        """Log an event, as a warning where no other level is given."""
        event = f"{self._stage}.{what}"
        log.log(level, event, request_id=request_id, **more)


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


@dataclass(frozen=True, kw_only=True)
class CallPorts:
    """The ports of one stage's paid calls.

    Attributes:
        jitter: returns random numbers from 0 to 1.
        pause: waits for a number of seconds between two polls for cancelled requests.
    """

    journal: Journal
    clock: Clock = field(default_factory=Clock)
    new_call_id: Callable[[], str] = lambda: str(uuid.uuid4())
    jitter: Callable[[], float] = random.random
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

"""Sends that end only when the broker has acknowledged them, or when no retry can help."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from agents.runner.retries import backoff_s
from streams.errors import TransientFault, Undeliverable
from streams.publisher import Emit, Position

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class Publishes(Protocol):
    """What sends one record, and returns once the broker has it."""

    async def publish(self, emit: Emit) -> Position:
        """Send one record."""
        ...


class Lost(msgspec.Struct, frozen=True):
    """A record that no retry can bring onto its topic."""

    emit: Emit
    fault: Undeliverable


class Sends:
    """Sends records for one stage until the broker has them, past any deadline.

    Args:
        publisher: sends one record.
        stage: for the log.
        sleep: how to wait between two tries.
    """

    def __init__(self, publisher: Publishes, *, stage: str, sleep: Sleep = asyncio.sleep) -> None:
        self._publisher = publisher
        self._stage = stage
        self._sleep = sleep

    async def all(self, emits: Sequence[Emit]) -> list[Lost]:
        """Send until each is acknowledged; what is not acknowledged must not be committed.

        Returns:
            Those that no retry can help.
        """
        waiting, lost, tries = list(emits), list[Lost](), 0
        while waiting:
            results = await asyncio.gather(
                *(self._publisher.publish(emit) for emit in waiting), return_exceptions=True
            )
            pairs = list(zip(waiting, results, strict=True))
            for _, each in pairs:
                if isinstance(each, BaseException) and not isinstance(each, TransientFault | Undeliverable):
                    raise each
            lost += [Lost(emit, each) for emit, each in pairs if isinstance(each, Undeliverable)]
            waiting = [emit for emit, each in pairs if isinstance(each, TransientFault)]
            if waiting:
                tries += 1
                error = next(str(each) for _, each in pairs if isinstance(each, TransientFault))
                log.warning("stage.send_failed", stage=self._stage, tries=tries, error=error)
                await self._sleep(backoff_s(tries, jitter=random.random))
        return lost

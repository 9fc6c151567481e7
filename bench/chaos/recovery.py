"""How long a fault is felt: probes on every partition until each is answered through all five stages."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from bench.chaos.kafka_client import PARTITIONS
from bench.chaos.submissions import Submission

_EVERY_S = 0.5
_GIVE_UP_S = 120.0


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one fault. Seconds from the fault to the first answer to a request sent after it.

    Attributes:
        fault: what was done to whom.
        alone: no other fault struck in the meantime.
        seconds: per partition; None where none was answered in time.
    """

    fault: str
    alone: bool
    seconds: tuple[float | None, ...]

    @property
    def worst_s(self) -> float:
        """The slowest partition; infinite where one did not come back."""
        return max(float("inf") if each is None else each for each in self.seconds)


class Prober:
    """Measures recoveries.

    Args:
        probe: sends a probe to a partition.
    """

    def __init__(self, probe: Callable[[int], Awaitable[Submission]]) -> None:
        self._probe = probe
        self._running: set[asyncio.Task[None]] = set()
        self.recoveries: list[Recovery] = []

    def watch(self, fault: str, *, alone: bool) -> None:
        """Begin to measure, now."""
        task = asyncio.create_task(self._watch(fault, alone=alone, struck_at=time.monotonic()))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def idle(self, timeout_s: float) -> None:
        """Wait until what is being measured is over."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    async def stop(self) -> None:
        """Stop measuring."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _watch(self, fault: str, *, alone: bool, struck_at: float) -> None:
        partitions = (self._until_served(number, struck_at) for number in range(PARTITIONS))
        seconds = await asyncio.gather(*partitions)
        self.recoveries.append(Recovery(fault=fault, alone=alone, seconds=tuple(seconds)))

    async def _until_served(self, partition: int, struck_at: float) -> float | None:
        probes: list[Submission] = []
        while time.monotonic() - struck_at < _GIVE_UP_S:
            probes.append(await self._probe(partition))
            until = time.monotonic() + _EVERY_S
            while time.monotonic() < until:
                await asyncio.sleep(0.02)
                answers = [each.answered_at for each in probes if each.answered_at is not None]
                if answers:
                    return round(min(answers) - struck_at, 2)
        return None

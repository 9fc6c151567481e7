"""The state of what ingest depends on: checked at most every two seconds, each check with a time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import structlog

from streams.errors import HeadraceError, StoreDenied
from streams.redis.memory import MemoryState, StoreMemory

log = structlog.get_logger(__name__)

#: Raises `HeadraceError` if the dependency is down; returns Redis's memory, if that is what it checks.
Check = Callable[[], Awaitable[StoreMemory | None]]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dependency: ``up`` or ``down``, how long the check took, what was wrong; Redis's memory."""

    status: str
    latency_ms: float
    error: str | None = None
    memory: StoreMemory | None = None

    @property
    def up(self) -> bool:
        """Whether it answered."""
        return self.status == "up"

    def has_memory(self, state: MemoryState) -> bool:
        """Whether its memory is in this state."""
        return self.memory is not None and self.memory.state is state


@dataclass(eq=False)
class HealthMonitor:
    """Runs the checks side by side, and keeps their results for a moment."""

    checks: Mapping[str, Check]
    timeout_s: float = 1.5
    fresh_for_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _results: Mapping[str, CheckResult] = field(default_factory=dict, init=False)
    _fresh_until: float = field(default=float("-inf"), init=False)

    async def results(self) -> Mapping[str, CheckResult]:
        """Return the state of every dependency."""
        async with self._lock:
            if self.clock() >= self._fresh_until:
                found = await asyncio.gather(*(self._run(*each) for each in self.checks.items()))
                self._results = dict(zip(self.checks, found, strict=True))
                self._fresh_until = self.clock() + self.fresh_for_s
            return self._results

    async def _run(self, name: str, check: Check) -> CheckResult:
        started = self.clock()
        error = memory = None
        try:
            async with asyncio.timeout(self.timeout_s):
                memory = await check()
        except TimeoutError:
            error = f"no answer within {self.timeout_s:g} s"
        except (HeadraceError, OSError) as fault:
            log.warning("health.check_failed", dependency=name, error=str(fault))
            denied = isinstance(fault, StoreDenied)
            error = "refuses our user or password" if denied else "does not answer; the log says more"
        latency_ms = round((self.clock() - started) * 1000, 2)
        status = "down" if error else "up"
        return CheckResult(status=status, latency_ms=latency_ms, error=error, memory=memory)

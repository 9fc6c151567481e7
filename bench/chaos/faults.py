"""How each fault is done, and undone. Only processes of the run's own system are touched, by their pid."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
import psutil

from bench.chaos.load import PROBE_WORD
from bench.chaos.recovery import Prober
from bench.chaos.schedule import Deed, Step
from bench.chaos.system import System
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.process import LOOPBACK, ChildProcess, answers_http, free_port

_BACK_S = 60.0
_RECOVERY_S = 45.0
_DRAIN_S = 70.0
_BUSY_S = 20.0
_KILLS = frozenset({Deed.KILL, Deed.KILL_JOINED})
_PROVIDER_FAULTS: dict[str, dict[str, Any]] = {
    "rate_limit": {"kind": "rate_limit", "rate": 0.5, "retry_after_s": 1},
    "server_error": {"kind": "server_error", "rate": 0.5},
    "hang": {"kind": "hang", "rate": 0.2},
    "drop": {"kind": "drop", "rate": 0.4},
    "slow": {"kind": "slow", "rate": 0.3, "latency": {"first_token_ms": 20_000}},
}
#: Probes are answered at once, whatever the other calls meet.
_PROBES = {"kind": "slow", "rate": 1.0, "prompt_contains": PROBE_WORD, "latency": {"first_token_ms": 0}}


class Providers:
    """The simulated providers' behaviour.

    Args:
        url: of the simulator, with the operator's password.
        first_token_ms: its latency in good times, as the simulator takes it.
    """

    def __init__(self, url: str, first_token_ms: dict[str, Any]) -> None:
        self._url = url
        self._latency = {"first_token_ms": first_token_ms}

    def behave(self, *faults: str) -> None:
        """Answer with the usual latency, and these faults."""
        rules = [_PROBES, *(_PROVIDER_FAULTS[name] for name in faults)]
        behaviour = {"latency": self._latency, "faults": rules}
        httpx.put(f"{self._url}/behaviour", json=behaviour, timeout=10).raise_for_status()


class Faults:
    """Carries the plan out.

    Args:
        system: what is broken.
        providers: what they do is changed.
        prober: measures what a fault costs.
        on_worker_killed: called as each worker is killed: what runs beside us dies at the same moments.
        in_flight: how many requests are in flight.
        busy: how many are to be in flight at a kill. It waits for them, but not for ever.
        say: told each fault.
    """

    def __init__(
        self,
        system: System,
        providers: Providers,
        prober: Prober,
        *,
        on_worker_killed: Callable[[], None] = lambda: None,
        in_flight: Callable[[], int] = lambda: 0,
        busy: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self._system = system
        self._providers = providers
        self._prober = prober
        self._on_worker_killed = on_worker_killed
        self._in_flight = in_flight
        self._busy = busy
        self._say = say
        self._joined: dict[str, ChildProcess] = {}
        self._starting: list[ChildProcess] = []
        self._frozen: set[psutil.Process] = set()
        self._later: set[asyncio.Task[None]] = set()
        self.kills: dict[str, int] = {}
        self.rebalances = 0
        self.in_flight_at_kills: list[int] = []
        self.missed: list[str] = []

    async def carry_out(self, plan: Sequence[Step], *, started: float) -> None:
        """Do every step at its time; one that stands alone waits until the last recovery is measured.

        Where that makes it late, all that follows is as late: the gaps between the faults stay.
        """
        late_s = 0.0
        for step in plan:
            await asyncio.sleep(max(0.0, started + step.at_s + late_s - time.monotonic()))
            if step.alone:
                await self._prober.idle(_RECOVERY_S)
            if step.deed in _KILLS:
                await self._until_busy()
                await self._until_started()
            late_s = max(late_s, time.monotonic() - started - step.at_s)
            now = msgspec.structs.replace(step, at_s=time.monotonic() - started)
            self._say(f"{now}; {self._in_flight()} in flight")
            try:
                await self._do(step)
            except (TimeoutError, ProcessLookupError, KeyError, psutil.Error, httpx.HTTPError) as fault:
                self.missed.append(f"{step}: {fault!r}")
                self._say(f"           not done: {fault!r}")

    async def _until_busy(self) -> None:
        until = time.monotonic() + _BUSY_S
        while self._in_flight() < self._busy and time.monotonic() < until:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.1)

    async def _until_started(self) -> None:
        """Wait for workers that join: nobody starts one again that finds no broker at its start."""
        while self._starting:
            worker = self._starting.pop()
            if worker not in self._joined.values():
                continue  # it has left already
            try:
                await asyncio.to_thread(worker.wait_ready)
            except EmbeddedError as fault:
                self.missed.append(f"{worker.role} did not start: {fault}")

    async def undo_all(self) -> None:
        """End what lasts: nothing stays frozen, nobody stays who joined, providers behave."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        for process in list(self._frozen):
            self._thaw(process)
        for name in list(self._joined):
            await self._leave(name, signal.SIGTERM)
        self._providers.behave()

    async def _do(self, step: Step) -> None:
        match step.deed:
            case Deed.KILL:
                await self._kill(step)
            case Deed.FREEZE:
                await self._freeze(step)
            case Deed.JOIN:
                self._join(step.target)
            case Deed.LEAVE:
                self._spawn(self._leave(step.target, signal.SIGTERM))
                self.rebalances += 1
            case Deed.KILL_JOINED:
                await self._leave(step.target, signal.SIGKILL)
                self._count("worker (joined)")
                self._prober.watch(f"{step.deed.value}: joined worker", alone=step.alone)
            case Deed.PROVIDER:
                await asyncio.to_thread(self._providers.behave, step.target)
                self._spawn(self._behave_again(step.for_s))

    async def _kill(self, step: Step) -> None:
        pid = await self._system.running_pid(step.target, timeout_s=_BACK_S)
        os.kill(pid, signal.SIGKILL)
        self._count(step.target)
        if step.target.startswith("worker"):
            self._on_worker_killed()
        if step.target.startswith(("worker", "kafka", "redis")):
            self._prober.watch(f"kill -9: {step.target}", alone=step.alone)

    async def _freeze(self, step: Step) -> None:
        pid = await self._system.running_pid(step.target, timeout_s=_BACK_S)
        process = psutil.Process(pid)
        process.suspend()
        self._frozen.add(process)
        self._spawn(self._thaw_later(process, step.for_s))
        if step.target.startswith("worker"):
            self.rebalances += 1
            self._prober.watch(f"SIGSTOP {step.for_s:.0f} s: {step.target}", alone=step.alone)

    def _join(self, name: str) -> None:
        port = free_port()
        own = {"HEADRACE_WORKER_HOST": LOOPBACK, "HEADRACE_WORKER_PORT": str(port)}
        worker = ChildProcess(
            role=name,
            argv=[sys.executable, "-m", "headrace", "worker"],
            env=self._system.worker_environ(name) | own,
            cwd=self._system.home.path,
            log_path=self._system.home.logs / f"{name}.log",
            probe=answers_http(f"http://{LOOPBACK}:{port}/ready"),
        )
        worker.start()
        self._joined[name] = worker
        self._starting.append(worker)
        self.rebalances += 1

    async def _leave(self, name: str, number: signal.Signals) -> None:
        worker = self._joined.pop(name)
        if worker.pid is None:
            self.missed.append(f"{name} had ended by itself: {worker.log_tail(500)}")
            return
        os.kill(worker.pid, number)
        if await asyncio.to_thread(worker.wait, _DRAIN_S) is None:
            self.missed.append(f"{name} did not leave within {_DRAIN_S:.0f} s of SIGTERM")
        await asyncio.to_thread(worker.stop, 0.0)

    async def _thaw_later(self, process: psutil.Process, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._thaw(process)

    def _thaw(self, process: psutil.Process) -> None:
        self._frozen.discard(process)
        try:
            process.resume()  # psutil knows a pid that was given to another process
        except psutil.NoSuchProcess:
            self.missed.append(f"process {process.pid} ended while it was stopped")

    async def _behave_again(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await asyncio.to_thread(self._providers.behave)

    def _count(self, role: str) -> None:
        self.kills[role] = self.kills.get(role, 0) + 1
        self.in_flight_at_kills.append(self._in_flight())

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

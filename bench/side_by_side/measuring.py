"""Measures one contender in one scenario: what the load generator sees, and the contender's CPU time."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

import httpx
import msgspec

from bench.side_by_side.contenders import MODEL, Contender, HeadraceContender
from bench.side_by_side.kafka_traversals import RawFigures
from bench.side_by_side.load import Outcome, Plan
from bench.side_by_side.process_tree import cpu_times, resident_mib, send, used_by_role
from bench.side_by_side.scenarios import Scenario

#: What the last replies leave behind: log records on their way to ClickHouse, offsets to commit.
_SETTLE_S = 2.0
_IDLE_S = 4.0
_CHECKOUT = Path(__file__).parents[2]
_END_S = 10.0
_FLOOR_TIMEOUT_S = 300.0


class LoadFailed(Exception):
    """The load generator ended before the load did, most likely by its time-out."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one contender took in one round of one scenario.

    `cpu_s` is the CPU time by role over `window_s`: the load and some seconds after it. `idle` is the share
    of a core that each role took while nothing was asked, `provider_calls` what reached the simulator.
    """

    scenario: str
    contender: str
    round: int
    outcome: Outcome
    cpu_s: Mapping[str, float]
    idle: Mapping[str, float]
    window_s: float
    provider_calls: int
    resident_mib: float
    load_average: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.outcome.answered / self.outcome.elapsed_s

    @property
    def cpu_ms(self) -> float:
        """CPU time a request, in milliseconds, over all its processes."""
        return 1000 * sum(self.cpu_s.values()) / max(1, self.outcome.answered)

    @property
    def net_cpu_ms_by_role(self) -> dict[str, float]:
        """CPU time a request by role, in milliseconds, without what it takes while nothing is asked."""
        return {
            role: 1000
            * max(0.0, used - self.idle.get(role, 0.0) * self.window_s)
            / max(1, self.outcome.answered)
            for role, used in self.cpu_s.items()
        }

    @property
    def net_cpu_ms(self) -> float:
        """The same over all its processes."""
        return sum(self.net_cpu_ms_by_role.values())


class Simulator:
    """The provider simulator, as its operator sees it."""

    def __init__(self, control: str) -> None:
        self._http = httpx.Client(base_url=control, timeout=30)

    def __enter__(self) -> Self:
        """Take it as it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def behave(self, behaviour: Mapping[str, object]) -> None:
        """Set its behaviour."""
        self._http.put("/behaviour", json=dict(behaviour)).raise_for_status()

    def calls(self) -> int:
        """How many calls it has billed so far."""
        return int(self._http.get("/invoice", params={"items": "false"}).raise_for_status().json()["calls"])


def measure(
    contender: Contender, scenario: Scenario, simulator: Simulator, *, number: int, seed: int
) -> Measurement:
    """Measure a contender that runs."""
    plan = Plan(
        url=contender.url, headers=contender.headers, model=MODEL, seed=seed, warm_up=50, **scenario.plan
    )
    with _generator(plan) as generator:
        idle = idle_shares(contender)
        calls = simulator.calls()
        before, begun = cpu_times(contender.processes()), time.monotonic()
        outcome = generator.load()
        time.sleep(_SETTLE_S)
        processes = contender.processes()
        after, window_s = cpu_times(processes), time.monotonic() - begun
    return Measurement(
        scenario=scenario.name,
        contender=contender.name,
        round=number,
        outcome=outcome,
        cpu_s=used_by_role(before, after),
        idle=idle,
        window_s=window_s,
        provider_calls=simulator.calls() - calls,
        resident_mib=resident_mib(processes),
        load_average=os.getloadavg()[0],
    )


class KafkaFloor(msgspec.Struct, frozen=True, kw_only=True):
    """What Kafka alone took in one round, and the CPU time of the broker a request, in milliseconds."""

    figures: RawFigures
    broker_cpu_ms: float


def kafka_floor(headrace: HeadraceContender, *, requests: int) -> KafkaFloor:
    """Measure the traversals of Kafka on Headrace's broker, while all else of it is stopped."""
    broker = [pid for pid, role in headrace.processes().items() if role == "kafka"]
    send(signal.SIGCONT, broker)
    try:
        before = cpu_times(dict.fromkeys(broker, "kafka"))
        command = [sys.executable, "-m", "bench.side_by_side.kafka_traversals", headrace.kafka]
        done = subprocess.run(
            [*command, "--requests", str(requests)],
            cwd=_CHECKOUT,
            stdout=subprocess.PIPE,
            timeout=_FLOOR_TIMEOUT_S,
            check=True,
        )
        used = used_by_role(before, cpu_times(dict.fromkeys(broker, "kafka")))
    finally:
        send(signal.SIGSTOP, broker)
    figures = msgspec.json.decode(done.stdout, type=RawFigures)
    return KafkaFloor(figures=figures, broker_cpu_ms=1000 * used["kafka"] / figures.requests)


def idle_shares(contender: Contender) -> dict[str, float]:
    """Return the share of a core that each role takes while nothing is asked."""
    if not contender.processes():
        return {}
    time.sleep(_SETTLE_S)
    before = cpu_times(contender.processes())
    time.sleep(_IDLE_S)
    used = used_by_role(before, cpu_times(contender.processes()))
    return {role: seconds / _IDLE_S for role, seconds in used.items()}


class Generator:
    """A load generator that has sent its warm-up."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._expect("ready")

    def load(self) -> Outcome:
        """Have it send the load."""
        self._write("go")
        return msgspec.json.decode(self._expect(""), type=Outcome)

    def _write(self, line: str) -> None:
        stdin: IO[str] | None = self._process.stdin
        assert stdin is not None  # noqa: S101  # a pipe
        stdin.write(line + "\n")
        stdin.flush()

    def _expect(self, wanted: str) -> str:
        assert self._process.stdout is not None  # noqa: S101  # a pipe
        line = self._process.stdout.readline()
        if not line.startswith(wanted) or not line:
            raise LoadFailed(f"the load generator ended: {line!r}")
        return line


@contextlib.contextmanager
def _generator(plan: Plan) -> Iterator[Generator]:
    """Run a load generator for as long as the block takes; its own time-outs bound each step."""
    command: Sequence[str] = [sys.executable, "-m", "bench.side_by_side.load"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=_CHECKOUT, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdin is not None  # noqa: S101  # a pipe
            process.stdin.write(msgspec.json.encode(plan).decode() + "\n")
            process.stdin.flush()
            yield Generator(process)
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_END_S)

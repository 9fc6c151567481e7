"""What happens when ClickHouse is away for minutes: nothing lost, memory flat, caught up.

Starts a Headrace of its own (`headrace up` in a temporary folder), sends requests at a fixed rate, and stops
the ClickHouse process in its tracks (SIGSTOP: connections stay open and nothing answers) for as long as
asked. Then it lets it go on and measures how long the sink takes to catch up under the same load. Resident
memory is sampled throughout. The exit status is 1 where a request got no answer, a row is missing or there
twice, or the booked cost differs from the replies' or from the provider's invoice, to the last digit.

    .venv/bin/python -m bench.clickhouse_away [--minutes 10] [--rate 30] [--max-rss-mib 300]
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import psutil

_MIB = 1024 * 1024
_SAMPLE_S = 2.0
_BEFORE_S = 30.0
_AFTER_S = 20.0
_CATCH_UP_LIMIT_S = 600.0
#: Under load rows wait up to three seconds for their batch: as far behind, the sink has caught up.
_CAUGHT_UP_S = 5.0
_ROLES = ("ingest", "worker-0", "analytics", "clickhouse", "kafka", "redis")
_TIMEOUT = aiohttp.ClientTimeout(total=90)
_QUICK = aiohttp.ClientTimeout(total=5)
_BEHAVIOUR = {"latency": {"first_token_ms": {"distribution": "lognormal", "median_ms": 300}}}


@dataclass
class Home:
    """A running `headrace up`, by its folder."""

    path: Path

    @property
    def endpoints(self) -> dict[str, str]:
        """Where everything is."""
        found: dict[str, str] = json.loads((self.path / "endpoints.json").read_text())
        return found

    def pids(self) -> dict[str, int]:
        """The process of each role."""
        status = json.loads((self.path / "status.json").read_text())
        return {row["role"]: row["pid"] for row in status["processes"] if row["pid"]}

    def restarts(self) -> dict[str, int]:
        """How often each role was started again."""
        status = json.loads((self.path / "status.json").read_text())
        return {row["role"]: row["restarts"] for row in status["processes"]}


@dataclass
class Load:
    """Requests at a fixed rate, each new to every cache, and what came of them."""

    session: aiohttp.ClientSession
    url: str
    rate: float
    phase: str = "before"
    costs: dict[str, Decimal] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Send until cancelled; then wait for what is on its way."""
        async with asyncio.TaskGroup() as sends:
            began, sent = time.perf_counter(), 0
            with suppress(asyncio.CancelledError):
                while True:
                    sends.create_task(self._send(self.phase))
                    sent += 1
                    await asyncio.sleep(max(0.0, began + sent / self.rate - time.perf_counter()))

    async def _send(self, phase: str) -> None:
        body = {"query": f"What turns wheel {uuid.uuid4().hex}?", "user_id": "bench"}
        began = time.perf_counter()
        try:
            async with self.session.post(self.url, json=body) as response:
                reply = json.loads(await response.text(), parse_float=Decimal)
                outcome = f"{response.status} {reply.get('status')}"
        except (aiohttp.ClientError, TimeoutError) as fault:
            outcome = type(fault).__name__
        if outcome == "200 answered":
            self.costs[reply["request_id"]] = Decimal(reply["cost_usd"])
            self.latencies[phase].append(time.perf_counter() - began)
        else:
            self.faults[f"{phase}: {outcome}"] += 1


@dataclass
class Samples:
    """Memory of every process, and what the two health reports say, by phase."""

    home: Home
    session: aiohttp.ClientSession
    load: Load
    rss_mib: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    behind_s: float = 0.0

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            phase = self.load.phase
            for role, pid in self.home.pids().items():
                with suppress(psutil.Error):
                    self.rss_mib[phase, role].append(psutil.Process(pid).memory_info().rss / _MIB)
            for name in ("ingest", "analytics"):
                report = await self._health(name)
                self.said[phase][f"{name} {report.get('status', 'no answer')}"] += 1
                self.behind_s = report.get("sink", {}).get("behind_s", self.behind_s)
            await asyncio.sleep(_SAMPLE_S)

    async def _health(self, name: str) -> dict[str, Any]:
        try:
            url = f"{self.home.endpoints[name]}/health"
            async with self.session.get(url, timeout=_QUICK) as response:
                return dict(await response.json())
        except (aiohttp.ClientError, TimeoutError):
            return {}


def main() -> int:
    """Run the benchmark, print its figures and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long ClickHouse is away")
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second")
    parser.add_argument("--max-rss-mib", type=float, default=300.0, help="of the sink")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        home = Home(Path(folder) / "home")
        headrace("up", "--detach", "--no-demo", home=home)
        try:
            return asyncio.run(measure(home, options))
        finally:
            headrace("down", home=home)


def headrace(*arguments: str, home: Home) -> None:
    """Run a command of the checkout that this file is in."""
    command = [sys.executable, "-m", "headrace", *arguments, "--data-dir", str(home.path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180)


async def measure(home: Home, options: argparse.Namespace) -> int:
    """Go through the phases, print the figures, check the books."""
    endpoints = home.endpoints
    headers = {"Authorization": f"Bearer {endpoints['api_key']}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT, connector=connector) as session,
        aiohttp.ClientSession(timeout=_TIMEOUT) as operator,
    ):
        async with operator.put(f"{endpoints['simulator_control']}/behaviour", json=_BEHAVIOUR) as response:
            response.raise_for_status()
        load = Load(session, f"{endpoints['ingest']}/v1/chat", options.rate)
        samples = Samples(home, session, load)
        async with running(samples), running(load):
            await asyncio.sleep(_BEFORE_S)
            load.phase = "away"
            await away(home.pids()["clickhouse"], options.minutes * 60)
            load.phase = "catching up"
            caught_up_s = await catch_up(samples)
            load.phase = "after"
            await asyncio.sleep(_AFTER_S)
        report(options, home, load, samples, caught_up_s)
        return await verdict(operator, home, load, samples, options.max_rss_mib)


@asynccontextmanager
async def running(part: Load | Samples) -> AsyncIterator[None]:
    """Run a part beside the block; its faults are the block's."""
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def away(pid: int, seconds: float) -> None:
    """Stop a process in its tracks for so long."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


async def catch_up(samples: Samples) -> float:
    """Return how long the sink took until it was as near as ever, in seconds."""
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < _CATCH_UP_LIMIT_S:
        await asyncio.sleep(_SAMPLE_S)
        if samples.behind_s < _CAUGHT_UP_S:
            break
    return took


def report(options: argparse.Namespace, home: Home, load: Load, samples: Samples, caught_up_s: float) -> None:
    """Print what was measured."""
    phases = list(samples.said)
    print(f"{platform.machine()}, Python {platform.python_version()}, {options.rate:g} requests/s")
    print(f"ClickHouse away for {options.minutes:g} minutes; the sink caught up in {caught_up_s:.0f} s")
    print(f"{'':26}" + "".join(f"{phase:>18}" for phase in phases))
    for name, share in (("reply p50, ms", 0.5), ("reply p99, ms", 0.99)):
        cells = [f"{1000 * at(load.latencies[phase], share):18.0f}" for phase in phases]
        print(f"{name:26}" + "".join(cells))
    for role in _ROLES:
        cells = [memory(samples.rss_mib[phase, role]) for phase in phases]
        print(f"{role + ' RSS, MiB':26}" + "".join(f"{cell:>18}" for cell in cells))
    for phase in phases:
        said = ", ".join(f"{what} x{times}" for what, times in sorted(samples.said[phase].items()))
        print(f"health {phase}: {said}")
    print(f"restarts: {sum(home.restarts().values())}; requests without an answer: {dict(load.faults) or 0}")


def at(latencies: list[float], share: float) -> float:
    """Return the latency below which that share of them is."""
    return sorted(latencies)[int((len(latencies) - 1) * share)] if latencies else 0.0


def memory(mib: list[float]) -> str:
    """Return the median and the most."""
    return f"{statistics.median(mib):.0f}, most {max(mib):.0f}" if mib else "-"


async def verdict(
    session: aiohttp.ClientSession, home: Home, load: Load, samples: Samples, max_rss_mib: float
) -> int:
    """Compare the books, print what was found, return the exit status."""
    rows = await booked(session, home.endpoints["clickhouse"], "requests", len(load.costs))
    raw = await booked(session, home.endpoints["clickhouse"], "requests_raw", len(load.costs))
    async with session.get(f"{home.endpoints['simulator_control']}/invoice?items=false") as response:
        invoiced = Decimal((await response.json())["total_usd"])
    replied = sum(load.costs.values(), Decimal(0))
    most = max(max(mib) for (_, role), mib in samples.rss_mib.items() if role == "analytics")
    checks = {
        f"{rows[0]} rows for {len(load.costs)} answers": rows[0] == len(load.costs),
        f"{raw[0]} rows before deduplication": raw[0] == rows[0],
        f"booked ${rows[1]}, replied ${replied}, invoiced ${invoiced}": rows[1] == replied == invoiced,
        f"{sum(load.faults.values())} requests without an answer": not load.faults,
        f"the sink's memory {most:.0f} MiB at most": most <= max_rss_mib,
        f"{sum(home.restarts().values())} restarts": not sum(home.restarts().values()),
    }
    for what, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
    return 0 if all(checks.values()) else 1


async def booked(session: aiohttp.ClientSession, url: str, table: str, expected: int) -> tuple[int, Decimal]:
    """Return rows and their cost, waiting a moment for the last ones."""
    query = f"SELECT count(), toString(sum(cost_usd)) FROM headrace.{table} FORMAT TSV"
    deadline = time.perf_counter() + 30
    while True:
        async with session.post(url, data=query) as response:
            response.raise_for_status()
            count, usd = (await response.text()).split()
        if int(count) >= expected or time.perf_counter() > deadline:
            return int(count), Decimal(usd)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())

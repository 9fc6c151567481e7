"""What the worker's memory does while a burst of requests waits: 50,000 at once on 4 partitions.

Starts a Headrace of its own (`headrace up` in a temporary folder) whose simulated providers answer at once,
produces all requests as fast as the broker takes them, and samples the worker's resident memory once a
second until the last reply. The exit status is 1 where the memory passed the limit, a reply is missing, or
the worker did not live through it.

    .venv/bin/python -m bench.burst [--requests 50000] [--max-rss-mib 400] [--max-minutes 60]
"""

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from bench.chaos.system import System
from bench.kafka_lag import StageLag
from bench.kafka_load import KafkaLoad
from streams.events import MAX_DEADLINE_MS
from streams.pipeline import STAGES
from streams.settings import load_settings

_SAMPLE_S = 1.0
_SHOWN_EVERY_S = 15.0
_MIB = 1024 * 1024


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The worker at one moment of the burst."""

    at_s: float
    rss_mib: float
    waiting: int
    answered: int
    lag: dict[str, int]


@dataclass
class Watch:
    """Samples a process until it is stopped."""

    pid: int
    load: KafkaLoad
    lag: StageLag
    samples: list[Sample] = field(default_factory=list)
    most_mib: float = 0.0
    died: bool = False

    async def run(self) -> None:
        """Sample until cancelled, or until the process is gone."""
        started = shown = time.monotonic()
        while True:
            try:
                rss = psutil.Process(self.pid).memory_info().rss / _MIB
            except psutil.NoSuchProcess:
                self.died = True
                return
            self.most_mib = max(self.most_mib, rss)
            now = time.monotonic()
            if not self.samples or now - shown >= _SHOWN_EVERY_S:
                shown = now
                self.samples.append(await self._sample(now - started, rss))
                print(line(self.samples[-1]), flush=True)
            await asyncio.sleep(_SAMPLE_S)

    async def _sample(self, at_s: float, rss_mib: float) -> Sample:
        return Sample(
            at_s=at_s,
            rss_mib=rss_mib,
            waiting=self.load.waiting,
            answered=self.load.answered,
            lag=await self.lag.read(),
        )


def main() -> int:
    """Run the burst and print its figures."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="headrace-burst-") as folder:
        system = System(Path(folder), workers=1)
        try:
            system.start()
            return asyncio.run(burst(system, options))
        finally:
            system.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--max-rss-mib", type=float, default=400.0, help="of the worker")
    parser.add_argument("--max-minutes", type=float, default=60.0, help="until the last reply")
    return parser.parse_args()


async def burst(system: System, options: argparse.Namespace) -> int:
    """Produce the requests, watch until all have their reply, and return the exit status."""
    pid = system.process("worker-0").pid
    assert pid is not None  # noqa: S101  # `headrace up` has just said that it is ready
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 worker, {limits(system)}")
    print(heading())
    started = time.monotonic()
    async with (
        KafkaLoad(system.endpoints.kafka, deadline_ms=MAX_DEADLINE_MS) as load,
        StageLag(system.endpoints.kafka) as lag,
    ):
        watch = Watch(pid, load, lag)
        watching = asyncio.create_task(watch.run())
        try:
            await load.burst(options.requests)
            produced_s = time.monotonic() - started
            await load.all_answered(timeout_s=options.max_minutes * 60)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        elapsed = time.monotonic() - started
        last = load.answered / elapsed
        print(f"produced {load.sent} requests in {produced_s:.1f} s; all figures from the first one on")
        print(f"replies {load.answered} ({last:.1f} /s), lost {load.waiting}, sent twice {load.repeated}")
        print("statuses: " + ", ".join(f"{count} {status}" for status, count in load.statuses.items()))
        return verdict(watch, load, options)


def verdict(watch: Watch, load: KafkaLoad, options: argparse.Namespace) -> int:
    """Print whether the burst was survived; 0 if so."""
    problems = []
    if watch.died:
        problems.append("the worker ended")
    if load.waiting:
        problems.append(f"{load.waiting} replies are missing after {options.max_minutes:g} minutes")
    if set(load.statuses) - {"answered", "cached"}:
        problems.append("not every request was answered")
    if watch.most_mib > options.max_rss_mib:
        problems.append(f"the limit is {options.max_rss_mib:g} MiB")
    print(f"most memory of the worker: {watch.most_mib:.0f} MiB" + "".join(f"; {each}" for each in problems))
    return 1 if problems else 0


def limits(system: System) -> str:
    """Return how many records each stage works on at once, as the worker is configured."""
    endpoints = system.endpoints
    settings = load_settings(
        kafka_bootstrap=endpoints.kafka, redis_url=endpoints.redis, clickhouse_url=endpoints.clickhouse
    )
    return (
        f"in flight at most: guardrail {settings.guardrail_in_flight}, llm {settings.llm_in_flight},"
        f" others {settings.stage_in_flight}"
    )


def heading() -> str:
    """Return the head of the table."""
    names = ", ".join(spec.name for spec in STAGES)
    return f"{'s':>6}{'RSS MiB':>9}{'waiting':>9}{'answered':>9}   lag: {names}"


def line(sample: Sample) -> str:
    """Return a sample as a line of the table."""
    lag = ", ".join(str(sample.lag.get(spec.name, 0)) for spec in STAGES)
    return f"{sample.at_s:6.0f}{sample.rss_mib:9.0f}{sample.waiting:9}{sample.answered:9}   {lag}"


if __name__ == "__main__":
    sys.exit(main())

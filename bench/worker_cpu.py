"""What a request costs each process, in CPU time, with every check, the durable log and the accounting on.

Starts a Headrace of its own (`headrace up` in a temporary folder) whose simulated providers answer at once,
sends distinct requests through Kafka, and reads the CPU time of every process before and after. CPU time
depends far less on what else the machine does than replies per second do. What a process uses while nothing
is asked (polls, heartbeats, commits) is measured first, and told apart: the slower the requests come, the
larger its share would be.

    .venv/bin/python -m bench.worker_cpu [--requests 2000] [--in-flight 64] [--py-spy PATH]
"""

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import psutil

from bench.chaos.system import System
from bench.kafka_load import KafkaLoad, long_question, question
from bench.profile_areas import Profiler
from streams.redis.connection import connect

_WARM_UP = 200
_TIMEOUT_S = 540.0
_WORKER = "worker-0"
#: What the last replies leave behind: log records on their way to ClickHouse, offsets to commit.
_SETTLE_S = 2.0
_IDLE_S = 5.0
_MIB = 1024 * 1024


def main() -> int:
    """Run the benchmark and print its figures."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        system = System(Path(folder), workers=1)
        try:
            system.start()
            return asyncio.run(measure(system, options))
        finally:
            system.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=64, help="requests without a reply at once")
    parser.add_argument("--long", action="store_true", help="questions of 45 tokens instead of 20")
    parser.add_argument("--py-spy", type=Path, help="path of py-spy: also print where the worker's time goes")
    return parser.parse_args()


async def measure(system: System, options: argparse.Namespace) -> int:
    """Send the requests and print what they cost; 1 where one was not answered."""
    ask = long_question if options.long else question
    async with KafkaLoad(system.endpoints.kafka, ask=ask) as load:
        await load.steady(_WARM_UP, in_flight=options.in_flight, timeout_s=_TIMEOUT_S)
        await asyncio.sleep(_SETTLE_S)
        pids = worker_pids(system)
        profiler: Profiler | None = None

        async def work() -> None:
            nonlocal profiler
            profiler = Profiler(options.py_spy, pids[_WORKER]) if options.py_spy else None
            await load.steady(options.requests, in_flight=options.in_flight, timeout_s=_TIMEOUT_S)

        redis_before = await redis_work(system)
        use = await cpu_use(pids, work)
        redis_after = await redis_work(system)
        profile = profiler.finish() if profiler else []
        rss = resident_mib(pids)
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 worker process")
    rate = options.requests / use.elapsed_s
    print(f"{options.requests} requests, {options.in_flight} in flight: {rate:.0f} /s")
    print(f"{'process':16}{'CPU ms/request':>16}{'without idle':>14}{'idle ms/s':>11}{'RSS MiB':>9}")
    per_request = 1000 / options.requests
    for role in pids:
        print(
            f"{role:16}{use.gross_s[role] * per_request:16.2f}{use.net_s[role] * per_request:14.2f}"
            f"{1000 * use.idle[role]:11.0f}{rss[role]:9.0f}"
        )
    for what, number in redis_after.items():
        print(f"Redis {what}: {(number - redis_before[what]) / options.requests:.1f} a request")
    print("replies: " + ", ".join(f"{count} {status}" for status, count in sorted(load.statuses.items())))
    print("\n".join(profile))
    return 0 if set(load.statuses) == {"answered"} else 1


class CpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time by role: `gross_s`, and `net_s` without what it takes idle; `idle` is that share of a core."""

    elapsed_s: float
    gross_s: Mapping[str, float]
    net_s: Mapping[str, float]
    idle: Mapping[str, float]


async def cpu_use(pids: Mapping[str, int], work: Callable[[], Awaitable[None]]) -> CpuUse:
    """Measure the idle processes, then those that `work` keeps busy and the moments after it."""
    idle_before = cpu_seconds(pids)
    await asyncio.sleep(_IDLE_S)
    before, began = cpu_seconds(pids), time.monotonic()
    await work()
    elapsed_s = time.monotonic() - began
    await asyncio.sleep(_SETTLE_S)
    after = cpu_seconds(pids)
    idle = {role: (before[role] - idle_before[role]) / _IDLE_S for role in pids}
    gross_s = {role: after[role] - before[role] for role in pids}
    net_s = {role: max(0.0, gross_s[role] - idle[role] * (elapsed_s + _SETTLE_S)) for role in pids}
    return CpuUse(elapsed_s=elapsed_s, gross_s=gross_s, net_s=net_s, idle=idle)


async def redis_work(system: System) -> dict[str, int]:
    """Return how many commands Redis has carried out, and in how many reads they came to it."""
    redis = connect(system.endpoints.redis)
    try:
        stats = await redis.info("stats")
    finally:
        await redis.aclose()
    return {"commands": stats["total_commands_processed"], "round trips": stats["total_reads_processed"]}


def worker_pids(system: System) -> dict[str, int]:
    """Return the pid of every process of the system by its role."""
    return {each.role: each.pid for each in system.home.status().processes if each.pid is not None}


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU time that each process has used so far, in seconds, with that of its threads."""
    return {role: sum(psutil.Process(pid).cpu_times()[:2]) for role, pid in pids.items()}


def resident_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the resident memory of each process, in MiB."""
    return {role: psutil.Process(pid).memory_info().rss / _MIB for role, pid in pids.items()}


if __name__ == "__main__":
    sys.exit(main())

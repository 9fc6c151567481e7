"""Throughput and CPU a request by worker processes, partitions and payload sizes, over Kafka.

Starts a Headrace of its own for each number of workers and of partitions (`headrace up` in a temporary
folder, simulated providers that answer at once), keeps so many requests in flight, and reads the CPU time of
every process. Where processes outnumber the cores, throughput shows what the machine has; the CPU time a
request is the figure to reckon with.

    .venv/bin/python -m bench.scaling [--workers 1 2 4] [--partitions 1 16] [--bytes 1000 10000 30000]
"""

import argparse
import asyncio
import itertools
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import redis

from bench.chaos.system import System
from bench.kafka_load import KafkaLoad
from bench.side_by_side.questions import new_questions, text_of_bytes
from bench.worker_cpu import cpu_use, resident_mib, worker_pids

_WARM_UP = 150
_TIMEOUT_S = 540.0
_SETTLE_S = 2.0
_PARTITIONS = 4
#: Requests in flight are not more bytes than this, so that Kafka's own buffers do not become the subject.
_BYTES_IN_FLIGHT = 2_000_000
_KIB = 1024
_COLUMNS = (
    "workers",
    "partitions",
    "prompt bytes",
    "requests/s",
    "worker",
    "kafka",
    "redis",
    "all",
    "all, with idle",
    "worker MiB",
    "Kafka KiB",
    "Redis KiB",
    "not answered",
)


def main() -> int:
    """Run the benchmark and print a table in Markdown."""
    options = _arguments()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{options.requests} requests a row, {options.in_flight} in flight; CPU in ms a request, not idle"
    )
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}", flush=True)
    for workers in options.workers:
        sizes = options.bytes if workers == options.workers[0] else [0]
        _system(workers, _PARTITIONS, [0, *sizes] if sizes != [0] else sizes, options)
    for partitions in options.partitions:
        if partitions != _PARTITIONS:
            _system(options.workers[0], partitions, [0], options)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="at 4 partitions")
    parser.add_argument(
        "--partitions", type=int, nargs="*", default=[1, 16], help="with the first of --workers"
    )
    parser.add_argument(
        "--bytes",
        type=int,
        nargs="*",
        default=[1000, 10_000, 30_000],
        help="of a prompt, beside short questions",
    )
    parser.add_argument("--requests", type=int, default=1500, help="a row; fewer for long prompts")
    parser.add_argument("--in-flight", type=int, default=64)
    return parser.parse_args()


def _system(workers: int, partitions: int, sizes: list[int], options: argparse.Namespace) -> None:
    """Measure the sizes on one system; 0 bytes are short questions."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        environ = {"HEADRACE_TOPIC_PARTITIONS": str(partitions)}
        system = System(Path(folder), workers=workers, environ=environ)
        try:
            system.start()
            for size in sizes:
                figures = asyncio.run(_measure(system, partitions, size, options))
                print(f"| {workers} | {partitions} | {size or 'short'} | {figures} |", flush=True)
        finally:
            system.stop()


async def _measure(system: System, partitions: int, size: int, options: argparse.Namespace) -> str:
    in_flight = max(1, min(options.in_flight, _BYTES_IN_FLIGHT // max(size, 1)))
    requests = max(50, round(options.requests * min(1.0, 5000 / max(size, 1))))
    async with KafkaLoad(system.endpoints.kafka, partitions=partitions, ask=_asker(size)) as load:
        await load.steady(_WARM_UP if size < 10_000 else 20, in_flight=in_flight, timeout_s=_TIMEOUT_S)
        await asyncio.sleep(_SETTLE_S)
        pids, stored = worker_pids(system), stored_bytes(system)
        use = await cpu_use(pids, lambda: load.steady(requests, in_flight=in_flight, timeout_s=_TIMEOUT_S))
    others = sum(count for status, count in load.statuses.items() if status != "answered")
    gross = {_kind(role): 0.0 for role in pids}
    net = dict(gross)
    for role in pids:
        gross[_kind(role)] += 1000 * use.gross_s[role] / requests
        net[_kind(role)] += 1000 * use.net_s[role] / requests
    for each in (gross, net):
        each.pop("simulator", None)
    grown = [(now - then) / requests / _KIB for then, now in zip(stored, stored_bytes(system), strict=True)]
    memory = sum(mib for role, mib in resident_mib(pids).items() if _kind(role) == "worker")
    named = [net["worker"], net["kafka"], net["redis"], sum(net.values()), sum(gross.values())]
    stored_kib = [f"{each:.1f}" for each in grown]
    cells = [
        f"{requests / use.elapsed_s:.0f}",
        *(f"{each:.2f}" for each in named),
        f"{memory:.0f}",
        *stored_kib,
    ]
    return " | ".join([*cells, str(others)])


def stored_bytes(system: System) -> tuple[int, int]:
    """Return how much Kafka's logs hold on disk, and Redis in memory."""
    logs = sum(file.stat().st_size for file in system.home.data("kafka").rglob("*.log"))
    with redis.Redis.from_url(system.endpoints.redis) as client:
        return logs, int(client.info("memory")["used_memory"])


def _kind(role: str) -> str:
    return role.partition("-")[0]


def _asker(size: int) -> Callable[[], str]:
    seed = random.randrange(2**32)
    if not size:
        questions = new_questions(seed)
        return lambda: next(questions)
    numbers = itertools.count(seed)
    return lambda: text_of_bytes(size, next(numbers))


if __name__ == "__main__":
    sys.exit(main())

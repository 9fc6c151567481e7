"""How much CPU time the worker takes for a request, in units of a reference work that runs beside it.

Milliseconds differ by a factor of two from machine to machine, and from hour to hour on the same one. What
makes the worker slower makes the reference slower too: it is interpreted Python, regular expressions, JSON,
hashes, socket calls, and products with a matrix that no core's own cache holds, as the embedding's are. It
runs in small portions between the requests, on the same machine at the same time, so that other processes
cost both their caches. So the quotient says whether the code has become more expensive, and no wall clock is
read.

Requests come over Kafka in bursts: the worker always has work, and its idle polls weigh nothing.

    .venv/bin/python -m bench.cpu_guard [--rounds 5] [--requests 200]
"""

import argparse
import asyncio
import hashlib
import json
import re
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.chaos.system import System
from bench.kafka_load import KafkaLoad
from bench.side_by_side.questions import new_questions
from bench.worker_cpu import cpu_seconds, worker_pids

_WORKER = "worker-0"
_WARM_UP = 150
_SEED = 7
_TIMEOUT_S = 170.0
_PAUSE_S = 0.02
#: Records that a unit of the reference work handles; with the product about 3 ms on a core of 2026.
_RECORDS = 20
#: 8 MiB.
_MATRIX_SHAPE = (1024, 2048)
_PATTERN = re.compile(r"\b[\w.+-]+@[\w-]+\.\w{2,}\b|\b\d{3}-\d{2}-\d{4}\b")
_TEXT = "Please send the report of 2026-11-29 to the mill by noon; the gate is at 12 Water Street. " * 2


def main() -> int:
    """Measure and print the rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200, help="a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        system = System(Path(folder), workers=1)
        try:
            system.start()
            found = asyncio.run(rounds(system, count=options.rounds, requests=options.requests))
        finally:
            system.stop()
    print(
        f"units a request: {' '.join(f'{each:.2f}' for each in found)}; median {statistics.median(found):.2f}"
    )
    return 0


async def rounds(system: System, *, count: int, requests: int) -> list[float]:
    """Return the worker's CPU time a request, in units of the reference work, of each round.

    Raises:
        RuntimeError: a request was not answered.
    """
    questions = new_questions(seed=_SEED)
    async with KafkaLoad(system.endpoints.kafka, ask=lambda: next(questions)) as load:
        await _burst(load, _WARM_UP)
        return [await _round(system, load, requests) for _ in range(count)]


async def _round(system: System, load: KafkaLoad, requests: int) -> float:
    pids = {_WORKER: worker_pids(system)[_WORKER]}
    reference = ReferenceWork()
    beside = asyncio.create_task(reference.run())
    before = cpu_seconds(pids)[_WORKER]
    try:
        await _burst(load, requests)
    finally:
        used = cpu_seconds(pids)[_WORKER] - before
        beside.cancel()
    return used / requests / reference.unit_s


async def _burst(load: KafkaLoad, requests: int) -> None:
    await load.burst(requests)
    if not await load.all_answered(timeout_s=_TIMEOUT_S):
        raise RuntimeError(f"{load.waiting} requests have no reply")
    if not set(load.statuses) <= {"answered", "cached"}:
        raise RuntimeError(f"replies: {dict(load.statuses)}")


class ReferenceWork:
    """A fixed work in small portions; it notes what they take."""

    def __init__(self) -> None:
        self._taken_s: list[float] = []

    @property
    def unit_s(self) -> float:
        """The CPU time of a unit, in seconds: the mean, as the worker's is."""
        return statistics.fmean(self._taken_s)

    async def run(self) -> None:
        """Do a portion now and then, until cancelled."""
        matrix, vector = np.ones(_MATRIX_SHAPE, np.float32), np.ones(_MATRIX_SHAPE[1], np.float32)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            while True:
                begun = time.thread_time()
                for number in range(_RECORDS):
                    _handle(number, ours, theirs)
                np.einsum("ij,j->i", matrix, vector)  # in this thread
                self._taken_s.append(time.thread_time() - begun)
                await asyncio.sleep(_PAUSE_S)


def _handle(number: int, ours: socket.socket, theirs: socket.socket) -> None:
    record = {"id": number, "text": _TEXT, "tags": {f"tag{each}": each for each in range(10)}}
    ours.send(json.dumps(record).encode())
    read = json.loads(theirs.recv(4096))
    read["text"] = _PATTERN.sub("[redacted]", read["text"])
    hashlib.sha256(read["text"].encode()).digest()
    sorted(read["tags"].items(), key=lambda pair: -pair[1])


if __name__ == "__main__":
    sys.exit(main())

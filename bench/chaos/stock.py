"""Stock Faust side by side: the same kind of load, the same kills, and what it never processed."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from bench.chaos.kafka_client import PARTITIONS
from bench.chaos.stock_app import APP_ID, REPLIES, SOURCE, Job
from headrace.embedded.process import ChildProcess

_FAULTS = (KafkaError, OSError, TimeoutError)
#: Longer than a message takes: when nothing has been done for so long, nothing is in flight.
_IDLE_S = 25.0
_QUIET_S = 90.0
_POLL_S = 2.0
_KILL_S = 5.0


class StockVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages that the broker had acknowledged.

    `drained`: the group had committed everything, so nothing more would have come.
    """

    accepted: int
    processed: int
    lost: int
    more_than_once: int
    kills: int
    drained: bool


class Stock:
    """Runs the stock app, its load, and its kills.

    Args:
        bootstrap: the same broker as Headrace's.
        folder: for its log and for what it has done.
        takes_s: draws how long a message takes: the same as a provider's call.
        environ: of its process.
        seed: of the load.
    """

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        *,
        takes_s: Callable[[random.Random], float],
        environ: Mapping[str, str],
        seed: int,
    ) -> None:
        self._bootstrap = bootstrap
        self._folder = folder
        self._done = folder / "stock-done.txt"
        self._takes_s = takes_s
        self._chance = random.Random(seed)
        self._worker = ChildProcess(
            role="stock Faust",
            argv=[sys.executable, "-m", "bench.chaos.stock_app", bootstrap, str(self._done)],
            env=environ,
            cwd=folder,
            log_path=folder / "stock.log",
        )
        self._producer: AIOKafkaProducer | None = None
        self._accepted: set[str] = set()
        self._sends: set[asyncio.Task[None]] = set()
        self.kills = 0

    async def start(self) -> None:
        """Create its topics and start it."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in (SOURCE, REPLIES)])
        finally:
            await admin.close()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, request_timeout_ms=60_000
        )
        await self._producer.start()
        self._worker.start()

    async def run(self, over: asyncio.Event, *, rate: float) -> None:
        """Send so many a second until it is over."""
        number = 0
        while not over.is_set():
            number += 1
            job = Job(id=f"s-{number}", takes_s=self._takes_s(self._chance))
            task = asyncio.create_task(self._send(job))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
            await asyncio.sleep(1 / rate)

    def kill(self) -> None:
        """Kill it as Headrace's worker was just killed, and start it again."""
        if self._worker.pid is not None:
            os.kill(self._worker.pid, signal.SIGKILL)
            self._worker.wait(_KILL_S)
            self.kills += 1
        self._worker.start()

    async def verdict(self, *, timeout_s: float) -> StockVerdict:
        """Wait until the group has committed everything, and count."""
        await asyncio.gather(*self._sends, return_exceptions=True)
        drained = await self._drain(timeout_s)
        counts = Counter(self._done.read_text().split()) if self._done.exists() else Counter[str]()
        return StockVerdict(
            accepted=len(self._accepted),
            processed=len(self._accepted & counts.keys()),
            lost=len(self._accepted - counts.keys()),
            more_than_once=sum(1 for count in counts.values() if count > 1),
            kills=self.kills,
            drained=drained,
        )

    async def stop(self) -> None:
        """End it."""
        await asyncio.to_thread(self._worker.stop, 0.0)
        if self._producer is not None:
            with suppress(*_FAULTS):
                await asyncio.wait_for(self._producer.stop(), 15)

    async def _send(self, job: Job) -> None:
        assert self._producer is not None  # noqa: S101  # started before anything is sent
        while True:
            try:
                await self._producer.send_and_wait(
                    SOURCE, key=job.id.encode(), value=msgspec.json.encode(job)
                )
            except _FAULTS:
                await asyncio.sleep(0.5)
            else:
                self._accepted.add(job.id)
                return

    async def _drain(self, timeout_s: float) -> bool:
        """Wait for commits to reach the end; give up where nothing has moved for a while."""
        deadline, moved_at, last = time.monotonic() + timeout_s, time.monotonic(), -1
        while time.monotonic() < deadline and time.monotonic() - moved_at < _QUIET_S:
            if not self._worker.running:
                self._worker.start()  # it ended by itself: a supervisor would do the same
            size = self._done.stat().st_size if self._done.exists() else 0
            if size != last:
                moved_at, last = time.monotonic(), size
            if time.monotonic() - moved_at > _IDLE_S and await self._behind() == 0:
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def _behind(self) -> int:
        """Return how many messages are not committed; -1 where the broker does not say."""
        partitions = [TopicPartition(SOURCE, number) for number in range(PARTITIONS)]
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        try:
            await admin.start()
            committed = await admin.list_consumer_group_offsets(APP_ID)
            ends = await _ends(self._bootstrap, partitions)
        except _FAULTS:
            return -1
        finally:
            await admin.close()
        done = sum(max(0, committed[each].offset) if each in committed else 0 for each in partitions)
        return sum(ends.values()) - done


async def _ends(bootstrap: str, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    await consumer.start()
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return ends

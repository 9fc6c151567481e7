"""Kafka, ClickHouse and the real analytics process between them, for the sink's benchmarks."""

import asyncio
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer

from analytics.clickhouse import ClickHouse
from bench.worker_cpu import cpu_seconds
from headrace.embedded.clickhouse import EmbeddedClickHouse
from headrace.embedded.errors import ProcessExited
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.process import LOOPBACK, ChildProcess, free_port
from streams.kafka.topic_admin import create_topics

PARTITIONS = 4
DATABASE = "headrace"

_READER_PASSWORD = "read-only"  # noqa: S105  # of a database that lives as long as the benchmark
_HEALTH_TIMEOUT_S = 2.0
_KILL_WAIT_S = 10.0
_STOP_GRACE_S = 20.0
_SAMPLE_S = 0.25
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Stand:
    """Where everything is, and the analytics process, which is not started yet."""

    bootstrap: str
    clickhouse_url: str
    analytics: ChildProcess
    port: int
    pids: Mapping[str, int]

    def health(self) -> dict[str, Any]:
        """Return what analytics says of itself; nothing where it does not answer."""
        with suppress(urllib.error.URLError, OSError, ValueError):
            url = f"http://{LOOPBACK}:{self.port}/health"
            try:
                with urllib.request.urlopen(url, timeout=_HEALTH_TIMEOUT_S) as answer:
                    return dict(json.load(answer))
            except urllib.error.HTTPError as degraded:
                return dict(json.load(degraded))
        return {}

    def start(self) -> int:
        """Start the analytics process, without waiting until it is ready, and return its id.

        Raises:
            ProcessExited: it ended at once.
        """
        self.analytics.start()
        pid = self.analytics.pid
        if pid is None:
            self.analytics.wait_ready()  # raises, with what it said
            raise ProcessExited("analytics", 0, self.analytics.log_path, self.analytics.log_tail())
        return pid

    def kill(self) -> None:
        """End the analytics process with SIGKILL, and wait until it is gone."""
        pid = self.analytics.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        self.analytics.wait(_KILL_WAIT_S)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ClickHouse]:
        """Connect to the database that the rows are in."""
        connection = ClickHouse(self.clickhouse_url, database=DATABASE, timeout_s=60)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def producing(self) -> AsyncIterator[AIOKafkaProducer]:
        """Connect a producer that is set as the pipeline's."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=5,
            max_batch_size=256 * 1024,
        )
        await producer.start()
        try:
            yield producer
        finally:
            await asyncio.wait_for(producer.stop(), 30)


@contextmanager
def stand(folder: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Stand]:
    """Run Kafka and ClickHouse in a folder; create the topics; end everything with the block.

    Args:
        folder: for all data and logs.
        settings: variables of the analytics process that differ from their defaults.
    """
    kafka = EmbeddedKafka(folder / "kafka")
    clickhouse = EmbeddedClickHouse(folder / "clickhouse", reader_password=_READER_PASSWORD)
    with ExitStack() as stack:
        for part in (kafka, clickhouse):
            stack.callback(part.stop)
            part.start()
        asyncio.run(create_topics(kafka.endpoint, partitions=PARTITIONS, replication=1))
        port = free_port()
        environ = os.environ | {
            "HEADRACE_KAFKA_BOOTSTRAP": kafka.endpoint,
            "HEADRACE_CLICKHOUSE_URL": clickhouse.endpoint,
            "HEADRACE_CLICKHOUSE_READER_URL": f"http://reader:{_READER_PASSWORD}@127.0.0.1:{clickhouse.port}",
            "HEADRACE_REDIS_URL": "redis://127.0.0.1:1/0",  # analytics has no use for one
            "HEADRACE_ANALYTICS_PORT": str(port),
            "HEADRACE_RECORD_SIGNING": "off",  # the load is written by hand
            **(settings or {}),
        }
        analytics = ChildProcess(
            role="analytics",
            argv=[sys.executable, "-m", "headrace", "analytics"],
            env=environ,
            log_path=folder / "analytics.log",
            log_bytes=100_000_000,
        )
        stack.callback(analytics.stop, _STOP_GRACE_S)
        pids = {part.role: part.pid for part in (kafka, clickhouse) if part.pid is not None}
        yield Stand(kafka.endpoint, clickhouse.endpoint, analytics, port, pids)


@dataclass
class Usage:
    """CPU time and memory of the processes over a stretch of time.

    Attributes:
        pids: by role.
        most_mib: the most resident memory seen, by role.
    """

    pids: Mapping[str, int]
    most_mib: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        self._cpu_s = cpu_seconds(self.pids)

    async def run(self) -> None:
        """Sample the memory until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_S)

    def sample(self) -> None:
        """Look at each process once."""
        for role, pid in self.pids.items():
            with suppress(psutil.Error):
                mib = psutil.Process(pid).memory_info().rss / _MIB
                self.most_mib[role] = max(self.most_mib.get(role, 0.0), mib)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time that each has used since the beginning, in seconds."""
        return {role: cpu_s - self._cpu_s[role] for role, cpu_s in cpu_seconds(self.pids).items()}

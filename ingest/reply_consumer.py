"""The loop that reads this replica's partitions of the reply and delta topics.

There is no consumer group: replica i of n reads the partitions p with p % n == i, from the end, and hands
what it finds to the hub. The loop outlives the broker: it reconnects, and reads on where it was.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ingest.replies import ReplyHub
from streams.codec import decode, header
from streams.errors import ConfigurationError, KafkaUnavailable, UndecodableRecord
from streams.events import Delta, Reply
from streams.topics import DELTAS, REPLIES

log = structlog.get_logger(__name__)

_POLL_MS = 1_000
_STUCK_AFTER_S = 60.0
_CANCEL_AGAIN_S = 0.5
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_FAULTS = (KafkaError, OSError, TimeoutError)


class ReplyConsumer:
    """Reads replies and deltas for the hub.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        hub: what the records are handed to.
        replica: the number of this replica, from 0.
        replicas: how many there are.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: what connecting may take, in seconds.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        bootstrap: str,
        hub: ReplyHub,
        *,
        replica: int,
        replicas: int,
        client_id: str,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bootstrap = bootstrap
        self._hub = hub
        self._replica = replica
        self._replicas = replicas
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._turned_at = clock()
        self.partitions: tuple[int, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether the loop turns, with or without a broker."""
        running = self._task is not None and not self._task.done()
        return running and self._clock() - self._turned_at < _STUCK_AFTER_S

    @property
    def connected(self) -> bool:
        """Whether the loop has a consumer to read with."""
        return self.alive and self._consumer is not None

    async def start(self) -> None:
        """Find this replica's partitions, go to their ends, and begin to read.

        Raises:
            KafkaUnavailable: no broker answered.
            ConfigurationError: the topics are missing, or have fewer partitions than there are replicas.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                counts = await _partition_counts(self._bootstrap, (REPLIES.name, DELTAS.name))
                self.partitions = own_partitions(min(counts), replica=self._replica, replicas=self._replicas)
                self._consumer = await self._connect()
        except _FAULTS as fault:
            raise KafkaUnavailable(f"cannot read replies at {self._bootstrap}: {fault!r}") from fault
        self._task = asyncio.create_task(self._run(), name="reply-consumer")

    async def stop(self) -> None:
        """Stop reading."""
        while self._task is not None and not self._task.done():
            # Again and again: in Python 3.11 `asyncio.wait_for`, which aiokafka uses, swallows a cancellation
            # that arrives together with the result it waits for.
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_CANCEL_AGAIN_S)
        await self._disconnect()

    async def ping(self) -> None:
        """Ask the broker for the end of one partition.

        Raises:
            KafkaUnavailable: it does not answer.
        """
        if self._consumer is None:
            raise KafkaUnavailable("the reply consumer is not connected")
        try:
            await self._consumer.end_offsets([TopicPartition(REPLIES.name, self.partitions[0])])
        except _FAULTS as fault:
            raise KafkaUnavailable(f"the broker does not answer: {fault!r}") from fault

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            request_timeout_ms=int(self._timeout_s * 1000),  # a broker that vanished never says so
        )
        try:
            await consumer.start()
            assigned = [
                TopicPartition(topic, p) for topic in (REPLIES.name, DELTAS.name) for p in self.partitions
            ]
            consumer.assign(assigned)
            await self._seek(consumer, assigned)
        except BaseException:
            await self._close(consumer)
            raise
        return consumer

    async def _seek(self, consumer: AIOKafkaConsumer, assigned: Iterable[TopicPartition]) -> None:
        """Go to where the loop was, or to the end on the first time."""
        ends = await consumer.end_offsets(list(assigned))
        for partition, end in ends.items():
            consumer.seek(partition, self._positions.setdefault(partition, end))

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._close(consumer)

    async def _close(self, consumer: AIOKafkaConsumer) -> None:
        """Disconnect, whatever state the broker is in.

        In a task of its own, because aiokafka lets the cancellation of its inner tasks escape from `stop`
        when no broker answers, which would end our loop.
        """
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.wait((stopping,), timeout=self._timeout_s)
        if not stopping.done():
            stopping.cancel()
            log.warning("replies.stop_failed", error=f"it took more than {self._timeout_s:g} s")
        elif stopping.cancelled() or stopping.exception() is not None:
            log.warning("replies.stop_failed", error="no broker answered")

    async def _run(self) -> None:
        failures = 0
        while True:
            self._turned_at = self._clock()
            try:
                await self._turn()
                failures = 0
            except _FAULTS as fault:
                log.warning("replies.broker_fault", error=repr(fault))
                failures += 1
                await self._disconnect()
            except Exception:  # a record that breaks the loop would leave every client waiting
                log.exception("replies.fault")
                failures += 1
            if failures:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1])

    async def _turn(self) -> None:
        if self._consumer is None:
            async with asyncio.timeout(self._timeout_s):
                self._consumer = await self._connect()
            log.info("replies.reconnected")
        batches = await self._consumer.getmany(timeout_ms=_POLL_MS)
        for partition, records in batches.items():
            # Noted first: a batch that breaks the loop is left behind, not read for ever.
            self._positions[partition] = records[-1].offset + 1
            for record in records:
                dispatch(record, self._hub)


def dispatch(record: ConsumerRecord, hub: ReplyHub) -> None:
    """Hand one record to the hub; what nobody waits for is not even decoded."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    correlation_id = header(headers, "kafka_correlationId")
    request_id = (record.key or b"").decode("utf-8", "replace")
    if not hub.expects(request_id, correlation_id):
        return
    try:
        if record.topic == DELTAS.name:
            hub.on_delta(decode(record.value, Delta, headers))
        else:
            hub.on_reply(decode(record.value, Reply, headers), correlation_id)
    except UndecodableRecord as fault:
        log.warning(
            "replies.undecodable",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=fault.message,
        )


def own_partitions(count: int, *, replica: int, replicas: int) -> tuple[int, ...]:
    """Return the partitions that belong to a replica.

    Raises:
        ConfigurationError: there are none.
    """
    own = tuple(range(replica, count, replicas))
    if not own:
        raise ConfigurationError(
            f"the reply topics have {count} partitions, too few for HEADRACE_INGEST_REPLICAS={replicas}: "
            "lower it, or add partitions to llm.replies.v1 and llm.deltas.v1"
        )
    return own


async def _partition_counts(bootstrap: str, topics: Sequence[str]) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    await admin.start()
    try:
        described = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    counts = {entry["topic"]: len(entry["partitions"]) for entry in described if not entry["error_code"]}
    missing = [topic for topic in topics if not counts.get(topic)]
    if missing:
        raise ConfigurationError(
            f"Kafka has no topic {' and no '.join(missing)}: run `headrace topics create`"
        )
    return [counts[topic] for topic in topics]

"""Reads this replica's partitions of the reply and delta topics, and hands the records to the hub.

There is no consumer group: replica i of n reads the partitions p with p % n == i, from their ends. When the
broker is lost, the consumer reconnects, and continues at its last position.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from ingest.follow.reply_hub import ReplyHub
from streams.codec import header
from streams.errors import ConfigurationError, KafkaUnavailable
from streams.events import Delta, Reply
from streams.kafka.groupless_consumer import BROKER_FAULTS, GrouplessConsumer
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.redelivery import own_event
from streams.tasks import cancel_and_wait
from streams.topics import DELTAS, REPLIES

log = structlog.get_logger(__name__)

_POLL_MS = 1_000
_STUCK_AFTER_S = 60.0


@dataclass(eq=False)
class ReplyConsumer:
    """Reads replies and deltas for the hub. It is the only user of `kafka`."""

    kafka: GrouplessConsumer
    hub: ReplyHub
    replica: int
    replicas: int
    auth: RecordAuth = UNSIGNED
    partitions: tuple[int, ...] = field(default=(), init=False)
    delta_partitions: int = field(default=0, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _positions: dict[TopicPartition, int] = field(default_factory=dict, init=False)
    _last_poll_at: float = field(default_factory=time.monotonic, init=False)

    @property
    def alive(self) -> bool:
        """Whether the loop runs, with or without a broker."""
        running = self._task is not None and not self._task.done()
        return running and time.monotonic() - self._last_poll_at < _STUCK_AFTER_S

    @property
    def connected(self) -> bool:
        """Whether the loop has a consumer to read with."""
        return self.alive and self.kafka.client is not None

    async def start(self) -> None:
        """Find this replica's partitions, seek their ends, and begin to read.

        Raises `KafkaUnavailable`, and `ConfigurationError` where a topic is missing, or too small.
        """
        try:
            async with asyncio.timeout(self.kafka.timeout_s):
                counts = await _partition_counts(self.kafka.bootstrap, (REPLIES.name, DELTAS.name))
                self.delta_partitions = counts[-1]
                self.partitions = own_partitions(min(counts), replica=self.replica, replicas=self.replicas)
                await self._connect()
        except BROKER_FAULTS as fault:
            raise KafkaUnavailable(f"cannot read replies at {self.kafka.bootstrap}: {fault!r}") from fault
        self._task = asyncio.create_task(self.kafka.read_with(self._poll), name="reply-consumer")

    async def stop(self) -> None:
        """Stop reading."""
        await cancel_and_wait(self._task)
        await self.kafka.disconnect()

    def position(self, partition: int) -> int | None:
        """Return the offset of the next delta to read from a partition; None if it is another replica's."""
        return self._positions.get(TopicPartition(DELTAS.name, partition))

    async def ping(self) -> None:
        """Ask the broker for the end of one partition; `KafkaUnavailable` where it does not answer."""
        if self.kafka.client is None:
            raise KafkaUnavailable("the reply consumer is not connected")
        try:
            await self.kafka.client.end_offsets([TopicPartition(REPLIES.name, self.partitions[0])])
        except BROKER_FAULTS as fault:
            raise KafkaUnavailable(f"the broker does not answer: {fault!r}") from fault

    async def _connect(self) -> None:
        """Connect, and seek where the loop was, or the end the first time."""
        consumer = await self.kafka.connect()
        assigned = [
            TopicPartition(topic, p) for topic in (REPLIES.name, DELTAS.name) for p in self.partitions
        ]
        consumer.assign(assigned)
        for partition, end in (await consumer.end_offsets(assigned)).items():
            consumer.seek(partition, self._positions.setdefault(partition, end))

    async def _poll(self) -> bool:
        self._last_poll_at = time.monotonic()
        if self.kafka.client is None:
            async with asyncio.timeout(self.kafka.timeout_s):
                await self._connect()
            log.info("replies.reconnected")
        consumer = await self.kafka.connect()
        batches = await consumer.getmany(timeout_ms=_POLL_MS)
        for partition, records in batches.items():
            # Before they are handed on: a batch that breaks the loop is not read again for ever.
            self._positions[partition] = records[-1].offset + 1
            for record in records:
                dispatch(record, self.hub, self.auth)
        return True


def dispatch(record: ConsumerRecord, hub: ReplyHub, auth: RecordAuth) -> None:
    """Hand one record to the hub, unless Headrace did not write it. What nobody waits for is not decoded."""
    correlation_id = header(record.headers, "kafka_correlationId")
    request_id = (record.key or b"").decode("utf-8", "replace")
    if not hub.expects(request_id, correlation_id):
        return
    if record.topic == DELTAS.name:
        if delta := own_event(record, Delta, auth, reader="replies"):
            hub.on_delta(delta)
    elif reply := own_event(record, Reply, auth, reader="replies"):
        hub.on_reply(reply, correlation_id)


def own_partitions(count: int, *, replica: int, replicas: int) -> tuple[int, ...]:
    """Return the partitions that belong to a replica; `ConfigurationError` where there are none."""
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

"""The way onto a topic: every send is acknowledged by the broker before it counts."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from streams.codec import encode
from streams.errors import KafkaUnavailable, RecordTooLarge, UnknownTopic
from streams.events import Event
from streams.kafka_clients import stop_client
from streams.send_gate import SendGate
from streams.topics import ALL_TOPICS, Topic

MAX_RECORD_BYTES = 8 * 1024 * 1024

_OUR_TOPICS = frozenset(topic.name for topic in ALL_TOPICS)

log = structlog.get_logger(__name__)


class Emit(msgspec.Struct, frozen=True, kw_only=True):
    """One record to send. `value` is an event, or bytes that are passed on as they came."""

    topic: str
    key: str | bytes | None
    value: Event | bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None

    @classmethod
    def to(
        cls,
        topic: Topic,
        event: Event,
        *,
        key: str,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> Self:
        """Return the record that carries `event` on `topic`."""
        return cls(topic=topic.name, key=key, value=event, headers=tuple(headers), partition=partition)


class Position(msgspec.Struct, frozen=True):
    """Where a record was written."""

    topic: str
    partition: int
    offset: int


class Publisher:
    """An idempotent Kafka producer whose sends return once the broker has acknowledged them.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: how long one send may take, retries by the client included.
        gate: refuses sends in a long outage; without one, each waits for as long as it may take.
    """

    def __init__(
        self, bootstrap: str, *, client_id: str, timeout_s: float = 15.0, gate: SendGate | None = None
    ) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._gate = gate
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaUnavailable: no broker answered.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=0,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=int(self._timeout_s * 1000),
        )
        try:
            await asyncio.wait_for(producer.start(), self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            await self._end(producer)
            raise KafkaUnavailable(f"no Kafka broker answered at {self._bootstrap}: {fault!r}") from fault
        self._producer = producer

    async def stop(self) -> None:
        """Send what is pending and disconnect, within the timeout."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        await self._end(producer)

    async def _end(self, producer: AIOKafkaProducer) -> None:
        if (fault := await stop_client(producer, timeout_s=self._timeout_s)) is not None:
            log.warning("publisher.stop_failed", error=fault)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self.stop()

    async def publish(self, emit: Emit) -> Position:
        """Send one record and wait until the broker has it.

        Raises:
            KafkaUnavailable: not acknowledged in time, or refused by the gate. Where it was not refused, the
                record may still have been written: what reads it must recognise a repeat.
            RecordTooLarge: the record exceeds `MAX_RECORD_BYTES`.
            UnknownTopic: the topic (if it is not one of ours) or the partition does not exist.
        """
        if self._producer is None:
            raise KafkaUnavailable("the publisher is not started")
        known = emit.topic in _OUR_TOPICS and emit.partition is None
        if not known and not await self.has(emit.topic, emit.partition):
            raise UnknownTopic(f"there is no topic {emit.topic} with partition {emit.partition}")
        with self._gate.passing() if self._gate is not None else nullcontext():
            return await self._send(self._producer, emit)

    async def _send(self, producer: AIOKafkaProducer, emit: Emit) -> Position:
        key = emit.key.encode() if isinstance(emit.key, str) else emit.key
        value = encode(emit.value) if isinstance(emit.value, Event) else emit.value
        if key is None and value is None:
            sending = _send_bare(producer, emit)
        else:
            sending = producer.send_and_wait(
                emit.topic,
                value=value,
                key=key,
                partition=emit.partition,
                timestamp_ms=emit.timestamp_ms,
                headers=list(emit.headers),
            )
        try:
            sent = await asyncio.wait_for(sending, self._timeout_s)
        except MessageSizeTooLargeError as fault:
            raise RecordTooLarge(
                f"a record of {len(value or b'')} bytes for {emit.topic}: {fault}"
            ) from fault
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"{emit.topic} was not acknowledged: {fault!r}") from fault
        return Position(sent.topic, sent.partition, sent.offset)

    async def has(self, topic: str, partition: int | None = None) -> bool:
        """Whether a topic exists, and has the partition where one is named.

        Raises:
            KafkaUnavailable: no broker said so in time.
        """
        if self._producer is None:
            raise KafkaUnavailable("the publisher is not started")
        client = self._producer.client
        found = client.cluster.partitions_for_topic(topic)
        if found is None:
            try:
                found = await asyncio.wait_for(self._look_up(client, topic), self._timeout_s)
            except (KafkaError, TimeoutError, OSError) as fault:
                raise KafkaUnavailable(f"looking up topic {topic}: {fault!r}") from fault
        return bool(found) and (partition is None or partition in found)

    @staticmethod
    async def _look_up(client: AIOKafkaClient, topic: str) -> set[int] | None:
        """Ask a broker for the topic's partitions. aiokafka's own way asks for a whole time-out long."""
        await client.add_topic(topic)
        partitions: set[int] | None = None
        # The first update may be one that was under way already, and did not ask for this topic.
        for _ in range(2):
            if not await client.force_metadata_update():
                raise KafkaConnectionError("no broker answered")
            partitions = client.cluster.partitions_for_topic(topic)
            if partitions:
                break
        return partitions


async def _send_bare(producer: AIOKafkaProducer, emit: Emit) -> Any:
    """Send a record without key and value: Kafka takes it, aiokafka's own `send` does not."""
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=emit.timestamp_ms, headers=list(emit.headers))
    batch.close()
    partition = emit.partition
    if partition is None:  # there is no key to choose by
        partition = min(await producer.partitions_for(emit.topic))
    return await (await producer.send_batch(batch, emit.topic, partition=partition))

"""Publishes records; every send is acknowledged by the broker before it returns."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.codec import encode
from streams.errors import RecordTooLarge, UnknownTopic
from streams.events import Event
from streams.kafka.producer import Producer, send_fault
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.kafka.record_sizes import MAX_KEPT_BYTES, record_bytes
from streams.kafka.send_gate import SendGate
from streams.pipeline import TOPICS
from streams.topics import Topic


class Emit(msgspec.Struct, frozen=True, kw_only=True):
    """One record to send. `value` is an event, or bytes that are sent unchanged."""

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
    """Sends records to our topics and to those that senders name.

    Our own topics have an idempotent producer. Topics that senders name have another one, without a sequence
    that a refused record could break. Nothing is compressed: it saves nothing at the size of our records, and
    a client without optional codecs can read a reply.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: how long one send may take, retries by the client included.
        gate: refuses sends in a long outage; without one, each waits for as long as it may take.
        auth: signs the records of our own topics.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        timeout_s: float = 15.0,
        gate: SendGate | None = None,
        auth: RecordAuth = UNSIGNED,
    ) -> None:
        self._gate = gate
        self._auth = auth
        common = {
            "bootstrap_servers": bootstrap.split(","),
            "acks": "all",
            "linger_ms": 0,
            "max_request_size": MAX_KEPT_BYTES,
            "request_timeout_ms": int(timeout_s * 1000),
        }
        self._own = Producer(
            lambda: AIOKafkaProducer(client_id=client_id, enable_idempotence=True, **common),
            bootstrap=bootstrap,
            timeout_s=timeout_s,
        )
        self._foreign = Producer(
            lambda: AIOKafkaProducer(client_id=f"{client_id}.replies", **common),
            bootstrap=bootstrap,
            timeout_s=timeout_s,
        )

    async def start(self) -> None:
        """Connect. Raises `KafkaUnavailable`."""
        await self._own.start()

    async def stop(self) -> None:
        """Send what is pending and disconnect, within the timeout."""
        await self._own.stop()
        await self._foreign.stop()

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.start()
        return self

    async def __aexit__(self, *fault: object) -> None:
        """Disconnect."""
        await self.stop()

    async def publish(self, emit: Emit) -> Position:
        """Send one record and wait until the broker has it.

        Raises:
            KafkaUnavailable: refused by the gate, or not acknowledged in time: the record may have been
                written
                nevertheless, and its readers must recognise a repeat.
            RecordTooLarge: the record is larger than its topic allows.
            TopicRefused: the topic, which is not one of ours, never takes the record.
            UnknownTopic: the topic (if it is not one of ours) or the partition does not exist.
        """
        topic = TOPICS.get(emit.topic)
        known = topic is not None and emit.partition is None
        if not known and not await self.has(emit.topic, emit.partition):
            raise UnknownTopic(f"there is no topic {emit.topic} with partition {emit.partition}")
        with self._gate.passing() if self._gate is not None else nullcontext():
            return await self._send(emit, topic)

    async def has(self, topic: str, partition: int | None = None) -> bool:
        """Whether a topic exists, and has the partition where one is named. Raises `KafkaUnavailable`."""
        return await self._own.has(topic, partition)

    async def _send(self, emit: Emit, topic: Topic | None) -> Position:
        key = emit.key.encode() if isinstance(emit.key, str) else emit.key
        value = encode(emit.value) if isinstance(emit.value, Event) else emit.value
        headers = emit.headers
        if topic is not None:
            headers = self._auth.signed(topic.name, key, value, headers)
        size, most = record_bytes(key, value, headers), topic.max_bytes if topic else MAX_KEPT_BYTES
        if size > most:
            raise RecordTooLarge(f"a record of {size} bytes for {emit.topic}, which takes {most}")
        producer = self._own if topic is not None else self._foreign
        try:
            if producer is self._foreign:  # most installations never need it
                await producer.start()
            sent: Any = await producer.send(
                emit.topic,
                key=key,
                value=value,
                headers=headers,
                partition=emit.partition,
                timestamp_ms=emit.timestamp_ms,
            )
        except (KafkaError, TimeoutError, OSError) as fault:
            raise send_fault(fault, emit.topic, ours=topic is not None) from fault
        return Position(sent.topic, sent.partition, sent.offset)

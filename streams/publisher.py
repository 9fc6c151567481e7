"""Publishes records; every send is acknowledged by the broker before it returns."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.codec import encode
from streams.errors import KafkaUnavailable, RecordTooLarge, UnknownTopic
from streams.events import Event
from streams.kafka.producer import Producer, send_fault
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import TOPICS
from streams.topics import MAX_KEPT_BYTES, Topic, record_bytes

_RETRY_AFTER_S = 2.0
#: What collects for a partition leaves with the next request: 16 KiB of it (aiokafka) were not enough.
_MAX_BATCH_BYTES = 256 * 1024


class SendGate:
    """Lets sends through while the broker acknowledges, and refuses them at once in a long outage.

    Sends wait out a short outage, such as a broker's restart. After `max_silence_s` without an
    acknowledgement one send at a time still tries whether the broker is back, and all others are refused; the
    first acknowledgement opens the gate again. At most `max_waiting` sends wait at once.
    """

    def __init__(
        self, *, max_silence_s: float, max_waiting: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_silence_s = max_silence_s
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting = 0
        self._unanswered_since: float | None = None
        self._failed_at: float | None = None

    @property
    def silent_s(self) -> float:
        """How long no send has been acknowledged while some waited or failed, in seconds."""
        return self._clock() - self._unanswered_since if self._unanswered_since is not None else 0.0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Surround one send, or refuse it with `KafkaUnavailable`; inside, that tells of a silent broker."""
        self._enter()
        try:
            yield
        except KafkaUnavailable:
            self._failed_at = self._clock()
            raise
        else:
            self._unanswered_since, self._failed_at = self._clock(), None
        finally:
            self._waiting -= 1
            if not self._waiting and self._failed_at is None:
                self._unanswered_since = None

    def _enter(self) -> None:
        if self._waiting >= self._max_waiting:
            raise KafkaUnavailable(
                f"{self._waiting} sends wait for the broker already", retry_after_s=_RETRY_AFTER_S
            )
        if self._waiting and self.silent_s >= self._max_silence_s:
            raise KafkaUnavailable(
                f"the broker has acknowledged nothing for {self.silent_s:.0f} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        failed_s = self._clock() - self._failed_at if self._failed_at is not None else 0.0
        if not self._waiting and failed_s >= self._max_silence_s:
            self._unanswered_since, self._failed_at = None, None  # that outage may be over
        self._waiting += 1
        if self._unanswered_since is None:
            self._unanswered_since = self._clock()


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

    `timeout_s` bounds one send, retries by the client included. Without a `gate` each send waits so long in
    an outage, too. `auth` signs the records of our own topics.
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
            lambda: AIOKafkaProducer(
                client_id=client_id, enable_idempotence=True, max_batch_size=_MAX_BATCH_BYTES, **common
            ),
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
        """Send one record and wait until the broker has it, or raise `KafkaUnavailable` or `Undeliverable`.

        A record that was not acknowledged in time may have been written nevertheless: its readers must
        recognise a repeat.
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

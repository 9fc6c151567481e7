"""One Kafka producer, replaced by a fresh one when it is lost; and what the errors of a send mean.

An error is transient, permanent, or the producer is lost. aiokafka's own `retriable` is about its sender: a
topic that refuses a record refuses it for ever, and a producer that has lost its sequence refuses everything
until it is replaced.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import RecordMetadata

from streams.errors import HeadraceError, KafkaUnavailable, RecordTooLarge, TopicRefused, UnknownTopic
from streams.kafka.clients import stop_client

Headers = tuple[tuple[str, bytes], ...]

log = structlog.get_logger(__name__)

#: The record, or the request that it makes, is larger than the topic or the broker takes.
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.RecordTooLargeError)
#: The topic does not take this record from us, however often it is tried.
_REFUSED = (
    kafka.InvalidTopicError,  # also an internal topic, such as __consumer_offsets
    kafka.TopicAuthorizationFailedError,
    kafka.PolicyViolationError,
    kafka.UnsupportedForMessageFormatError,
    kafka.InvalidTimestampError,
    kafka.CorruptRecordException,
    kafka.InvalidRequestError,
    kafka.UnsupportedVersionError,
    kafka.UnknownError,  # code 87, INVALID_RECORD, for which aiokafka has no name: e.g. a compacted topic
)
#: The broker and the producer no longer agree about what comes next, or the producer has ended.
_PRODUCER_LOST = (
    kafka.OutOfOrderSequenceNumber,
    kafka.UnknownProducerId,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.ProducerFenced,
    kafka.ProducerClosed,
    kafka.IllegalStateError,
)


class Producer:
    """Sends records one by one, each acknowledged; replaces a producer that has lost its sequence.

    An idempotent producer numbers its batches. After the broker refuses one (e.g. it is too large for the
    topic) it refuses all that follow as out of order. Such a producer is replaced. Its pending sends fail,
    and their callers try again. `build` makes a producer that is not started. `timeout_s` bounds starting,
    stopping and one send.
    """

    def __init__(self, build: Callable[[], AIOKafkaProducer], *, bootstrap: str, timeout_s: float) -> None:
        self._build = build
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._replacing = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, unless it is connected. Raises `KafkaUnavailable`."""
        async with self._replacing:
            if self._producer is None:
                self._producer = await self._connect()

    async def stop(self) -> None:
        """Send what is pending and disconnect, within the time-out."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await self._end(producer)
        if self._ending:
            await asyncio.wait(self._ending, timeout=self._timeout_s)

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> RecordMetadata:
        """Send one record and wait until the broker has it. Faults are aiokafka's own: see `send_fault`."""
        producer = self._started()
        if key is None and value is None:
            sending = _send_bare(producer, topic, headers, partition, timestamp_ms)
        else:
            sending = producer.send_and_wait(
                topic, value, key, partition=partition, timestamp_ms=timestamp_ms, headers=list(headers)
            )
        try:
            async with asyncio.timeout(self._timeout_s):  # `wait_for` would make a task for each record
                return await sending
        except KafkaError as fault:
            if is_producer_lost(fault):
                await self._replace(producer, fault)
            raise

    async def has(self, topic: str, partition: int | None = None) -> bool:
        """Whether a topic exists, and has the partition where one is named. Raises `KafkaUnavailable`."""
        client = self._started().client
        found = client.cluster.partitions_for_topic(topic)
        if found is None:
            try:
                found = await asyncio.wait_for(_look_up(client, topic), self._timeout_s)
            except (KafkaError, TimeoutError, OSError) as fault:
                raise KafkaUnavailable(f"looking up topic {topic}: {fault!r}") from fault
        return bool(found) and (partition is None or partition in found)

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise KafkaUnavailable("the publisher is not started")
        return self._producer

    async def _connect(self) -> AIOKafkaProducer:
        producer = self._build()
        try:
            await asyncio.wait_for(producer.start(), self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            await self._end(producer)
            raise KafkaUnavailable(f"no Kafka broker answered at {self._bootstrap}: {fault!r}") from fault
        return producer

    async def _replace(self, lost: AIOKafkaProducer, fault: KafkaError) -> None:
        """Replace a lost producer, once however many sends have met the loss."""
        async with self._replacing:
            if self._producer is not lost:
                return
            log.warning("producer.replaced", error=repr(fault))
            try:
                self._producer = await self._connect()
            except KafkaUnavailable as unavailable:  # the next send meets the same, and tries again
                log.warning("producer.not_replaced", error=str(unavailable))
                return
            ending = asyncio.create_task(self._end(lost))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _end(self, producer: AIOKafkaProducer) -> None:
        if (fault := await stop_client(producer, timeout_s=self._timeout_s)) is not None:
            log.warning("producer.stop_failed", error=fault)


async def _look_up(client: AIOKafkaClient, topic: str) -> set[int] | None:
    """Ask a broker for the topic's partitions. aiokafka's own way asks for a whole time-out long."""
    await client.add_topic(topic)
    partitions: set[int] | None = None
    try:
        # Two updates: one that was already under way did not ask for this topic.
        for _ in range(2):
            if not await client.force_metadata_update():
                raise KafkaConnectionError("no broker answered")
            partitions = client.cluster.partitions_for_topic(topic)
            if partitions:
                break
    finally:
        if not partitions:  # a name that a sender made up must not be part of every further update
            client._topics.discard(topic)  # noqa: SLF001  # aiokafka has no public way to forget one topic
    return partitions


async def _send_bare(
    producer: AIOKafkaProducer, topic: str, headers: Headers, partition: int | None, timestamp_ms: int | None
) -> Any:
    """Send a record without key and value: Kafka takes it, aiokafka's own `send` does not."""
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=timestamp_ms, headers=list(headers))
    batch.close()
    if partition is None:  # there is no key to choose by
        partition = min(await producer.partitions_for(topic))
    return await (await producer.send_batch(batch, topic, partition=partition))


def is_producer_lost(fault: BaseException) -> bool:
    """Whether the producer raises this for every further record, until it is replaced.

    aiokafka's sender task raises the bare `KafkaError` for everything once it has ended.
    """
    return isinstance(fault, _PRODUCER_LOST) or type(fault) is kafka.KafkaError


def send_fault(fault: BaseException, topic: str, *, ours: bool) -> HeadraceError:
    """Return our exception for a failed send.

    On Headrace's own topics (`ours`) a refusal counts as transient: an operator can give a right back, and
    there is nowhere else for the record to go. Only a record's size never changes.
    """
    if isinstance(fault, _TOO_LARGE):
        return RecordTooLarge(f"topic {topic} does not take a record of this size: {fault!r}")
    if not ours and isinstance(fault, _REFUSED):
        return TopicRefused(f"topic {topic} does not take the record: {fault!r}")
    if not ours and isinstance(fault, kafka.UnknownTopicOrPartitionError):
        return UnknownTopic(f"topic {topic} has gone: {fault!r}")
    return KafkaUnavailable(f"{topic} was not acknowledged: {fault!r}")

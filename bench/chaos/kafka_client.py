"""A Kafka service that asks Headrace: sends with correlation ids, reads replies from a topic of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from bench.chaos.submissions import Answer, SeenReply
from bench.chaos.system import REPLY_TOPIC
from streams.codec import header, header_text
from streams.topics import REQUESTS

PARTITIONS = 4

_ACK_TIMEOUT_S = 60.0
_RETRY_S = 0.5
_POLL_MS = 500
_CONNECT_TIMEOUT_S = 20.0
_FAULTS = (KafkaError, OSError, TimeoutError)


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A record for the requests topic."""

    correlation: str
    value: bytes
    key: str | None = None


class _ReplyBody(msgspec.Struct, frozen=True):
    """The fields of a reply that the check reads: as a service in another language would."""

    request_id: str
    status: str
    content: str = ""
    error: dict[str, object] | None = None
    repeat: bool = False
    replay: int = 0


_decoder = msgspec.json.Decoder(_ReplyBody)


class KafkaClient:
    """Sends, and reads what comes back, for as long as it takes.

    Args:
        bootstrap: host:port of the broker.
        on_reply: called with every reply on our own topic.
    """

    def __init__(self, bootstrap: str, on_reply: Callable[[SeenReply], None]) -> None:
        self._bootstrap = bootstrap
        self._on_reply = on_reply
        self._producer: AIOKafkaProducer | None = None
        self._reader: asyncio.Task[None] | None = None
        self._positions = {TopicPartition(REPLY_TOPIC, number): 0 for number in range(PARTITIONS)}
        self.retries = 0

    async def start(self) -> None:
        """Connect and begin to read."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="chaos",
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            request_timeout_ms=int(_ACK_TIMEOUT_S * 1000),
        )
        await asyncio.wait_for(self._producer.start(), _CONNECT_TIMEOUT_S)
        self._reader = asyncio.create_task(self._read(), name="chaos-replies")

    async def stop(self) -> None:
        """Stop reading and disconnect."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self._producer is not None:
            with suppress(*_FAULTS):
                await asyncio.wait_for(self._producer.stop(), _CONNECT_TIMEOUT_S)

    async def submit(self, outgoing: Outgoing, *, give_up_s: float = 240.0) -> int:
        """Send until the broker has it, and return the partition.

        The same record may be written twice where an acknowledgement was lost: same id, same correlation id.

        Raises:
            TimeoutError: never acknowledged.
        """
        async with asyncio.timeout(give_up_s):
            while True:
                try:
                    return await self._send(outgoing)
                except _FAULTS:
                    self.retries += 1
                    await asyncio.sleep(_RETRY_S)

    async def _send(self, outgoing: Outgoing) -> int:
        assert self._producer is not None  # noqa: S101  # started before anything is sent
        correlation = outgoing.correlation.encode()
        reply_partition = murmur2(correlation) % PARTITIONS
        sent = await self._producer.send_and_wait(
            REQUESTS.name,
            value=outgoing.value,
            key=outgoing.key.encode() if outgoing.key is not None else None,
            headers=[
                ("kafka_correlationId", correlation),
                ("kafka_replyTopic", REPLY_TOPIC.encode()),
                ("kafka_replyPartition", reply_partition.to_bytes(4, "big")),
            ],
        )
        partition: int = sent.partition
        return partition

    async def sweep(self, topic: str) -> AsyncIterator[ConsumerRecord]:
        """Yield every record of a topic up to its present end."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer = await self._connect(dict.fromkeys(partitions, 0))
        try:
            ends = await consumer.end_offsets(partitions)
            while [each for each in partitions if await consumer.position(each) < ends[each]]:
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
                for records in batches.values():
                    for record in records:
                        yield record
        finally:
            await consumer.stop()

    async def _read(self) -> None:
        consumer: AIOKafkaConsumer | None = None
        try:
            while True:
                try:
                    consumer = consumer or await self._connect(self._positions)
                    for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                        for record in records:
                            self._on_reply(seen_reply(record))
                        self._positions[partition] = records[-1].offset + 1
                except _FAULTS:
                    if consumer is not None:
                        await consumer.stop()
                    consumer = None
                    await asyncio.sleep(_RETRY_S)
        finally:
            if consumer is not None:
                await consumer.stop()

    async def _connect(self, positions: dict[TopicPartition, int]) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=100
        )
        try:
            await asyncio.wait_for(consumer.start(), _CONNECT_TIMEOUT_S)
            consumer.assign(list(positions))
            for partition, offset in positions.items():
                consumer.seek(partition, offset)
        except BaseException:
            await consumer.stop()
            raise
        return consumer


def seen_reply(record: ConsumerRecord) -> SeenReply:
    """Return what a reply record says."""
    headers: Sequence[tuple[str, bytes]] = record.headers
    body = _decoder.decode(record.value)
    code = str(body.error["code"]) if body.error else None
    return SeenReply(
        topic=record.topic,
        place=f"{record.topic}:{record.partition}:{record.offset}",
        request_id=body.request_id,
        ce_id=header_text(headers, "ce_id"),
        correlation=(header(headers, "kafka_correlationId") or b"").decode("utf-8", "replace") or None,
        replay=body.replay,
        answer=Answer.of(body.status, code, body.content),
        repeat=body.repeat,
    )


def partition_of(request_id: str) -> int:
    """Return the partition that a request has on every topic: Kafka's own way of choosing it."""
    chosen: int = (murmur2(request_id.encode()) & 0x7FFFFFFF) % PARTITIONS
    return chosen

"""Sends hostile records as they are: no client library's good manners between them and the broker."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Self
from zlib import crc32

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from bench.abuse.records import Hostile
from streams.kafka.clients import stop_client
from streams.kafka.inspector import KafkaInspector
from streams.pipeline import TOPICS

_MAX_REQUEST_BYTES = 9 * 1024 * 1024
_TIMEOUT_S = 30.0
_AT_ONCE = 8


class _Bytes(str):
    """A header's name that encodes to any bytes."""

    __slots__ = ("raw",)
    raw: bytes

    def encode(self, *_: object) -> bytes:
        return self.raw


class RawProducer:
    """A producer that sends any record which the broker takes.

    Args:
        bootstrap: host:port of the broker.
    """

    def __init__(self, bootstrap: str) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            enable_idempotence=False,
            acks=1,
            compression_type="lz4",
            max_request_size=_MAX_REQUEST_BYTES,
            max_batch_size=_MAX_REQUEST_BYTES,
            request_timeout_ms=int(_TIMEOUT_S * 1000),
        )
        self.sent: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        await asyncio.wait_for(self._producer.start(), _TIMEOUT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_client(self._producer, timeout_s=_TIMEOUT_S)

    async def send_all(self, records: Iterable[Hostile]) -> None:
        """Send records, a few at once; what the broker refuses is counted."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def send(record: Hostile) -> None:
            try:
                await self.send(record)
            finally:
                room.release()

        async with asyncio.TaskGroup() as tasks:
            for record in records:
                await room.acquire()
                tasks.create_task(send(record))

    async def send(self, record: Hostile) -> None:
        """Send a record in a batch of its own."""
        partitions = sorted(await self._producer.partitions_for(record.topic))
        partition = partitions[crc32(record.key or b"") % len(partitions)]
        batch = self._producer.create_batch()
        headers: list[tuple[str, bytes | None]] = list(record.headers)
        if record.raw_header_key is not None:
            name = _Bytes()
            name.raw = record.raw_header_key
            headers.append((name, b"v"))
            # The compiled builder of aiokafka takes text only; Kafka does not mind.
            batch._builder = _DefaultRecordBatchBuilderPy(  # noqa: SLF001
                magic=2,
                compression_type=0,
                is_transactional=0,
                producer_id=-1,
                producer_epoch=-1,
                base_sequence=-1,
                batch_size=_MAX_REQUEST_BYTES,
            )
        taken = batch.append(
            key=record.key, value=record.value, timestamp=record.timestamp_ms, headers=headers
        )
        batch.close()
        if taken is None:
            self.refused[f"{record.kind}: larger than a batch"] += 1
            return
        try:
            sending = self._producer.send_batch(batch, record.topic, partition=partition)
            await asyncio.wait_for(await sending, _TIMEOUT_S)
            self.sent[record.kind] += 1
        except KafkaError as fault:
            self.refused[f"{record.kind}: {type(fault).__name__}"] += 1


async def real_records(bootstrap: str, *, per_partition: int = 20) -> list[Hostile]:
    """Return the newest records of every topic, as they are."""
    questions = KafkaInspector(bootstrap, client_id="abuse", timeout_s=_TIMEOUT_S)
    found: list[Hostile] = []
    try:
        places = await questions.partitions(TOPICS)
        ends = await questions.end_offsets(places)
        left = {each: max(end - per_partition, 0) for each, end in ends.items() if end}
        while left:
            batches, positions = await questions.read(left)
            found += [_as_read(record) for records in batches.values() for record in records]
            left = {each: at for each, at in positions.items() if at < ends[each]}
    finally:
        await questions.close()
    return sorted(found, key=lambda each: (each.topic, each.key or b"", each.value or b""))


def _as_read(record: ConsumerRecord) -> Hostile:
    headers = tuple(record.headers)
    return Hostile(kind="", topic=record.topic, key=record.key, value=record.value, headers=headers)

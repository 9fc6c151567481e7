"""What a consumer group has committed, one commit after another, as the broker itself keeps it."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from analytics.sink.batches import OffsetRange
from streams.kafka.clients import stop_client

_TOPIC = "__consumer_offsets"
_POLL_MS = 500
_POLL_RECORDS = 5_000
_SILENT_S = 30.0
_STOP_S = 15.0


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One commit: the offset that is read next, and what was written beside it."""

    partition: int
    offset: int
    metadata: str


class _Fields:
    """Reads Kafka's plain types one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f">{kind}", self._data, self._at)
        self._at += struct.calcsize(f">{kind}")
        return int(value)

    def text(self, *, compact: bool = False) -> str:
        size = self._varint() - 1 if compact else self.number("h")
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def read_commit(key: bytes | None, value: bytes | None, *, group: str, topic: str) -> Commit | None:
    """Return the commit in a record of Kafka's offsets topic; None where it is none of this group and topic.

    The layouts are those of `OffsetCommitKey.json` (versions 0 and 1) and `OffsetCommitValue.json` (0 to 4)
    in Kafka's group coordinator: every version begins with the offset, from 3 on with a leader's epoch after
    it, and from 4 on texts are compact.
    """
    if key is None or value is None:
        return None
    fields = _Fields(key)
    if fields.number("h") > 1 or fields.text() != group or fields.text() != topic:
        return None
    partition = fields.number("i")
    fields = _Fields(value)
    version, offset = fields.number("h"), fields.number("q")
    if version >= 3:
        fields.number("i")  # the leader's epoch
    return Commit(partition=partition, offset=offset, metadata=fields.text(compact=version >= 4))


def faults_in(commits: Iterable[Commit], ends: dict[int, int]) -> tuple[int, list[str]]:
    """Return how many announced batches were announced again, and what breaks the sink's protocol.

    Each partition's commits must read: a range that begins where the last batch ended, perhaps several times
    over and then the very same range; then the offset after it, with no range; and so on up to the end.
    """
    at: dict[int, int] = dict.fromkeys(ends, 0)
    open_ranges: dict[int, OffsetRange] = {}
    repeats, faults = 0, []
    for commit in commits:
        place, done = commit.partition, at[commit.partition]
        announced = OffsetRange.parse(commit.metadata, committed=commit.offset)
        waiting = open_ranges.get(place)
        if announced is not None:
            repeats += announced == waiting
            if announced.first != done or (waiting is not None and announced != waiting):
                faults.append(f"{place}: {announced} announced after {done}, {waiting or 'nothing'} in hand")
            open_ranges[place] = announced
        elif waiting is None or commit.offset != waiting.last + 1:
            faults.append(f"{place}: {commit.offset} committed, {waiting or 'nothing'} in hand")
        else:
            at[place] = commit.offset
            del open_ranges[place]
    faults += [f"{place}: ends at {at[place]}, not {end}" for place, end in ends.items() if at[place] != end]
    faults += [f"{place}: {batch} was never finished" for place, batch in open_ranges.items()]
    return repeats, faults


async def commits_of(bootstrap: str, *, group: str, topic: str) -> list[Commit]:
    """Return every commit of a group for a topic, in the order in which they were made."""
    return [
        commit
        async for record in records_of(bootstrap, _TOPIC)
        if (commit := read_commit(record.key, record.value, group=group, topic=topic)) is not None
    ]


async def records_of(bootstrap: str, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Yield what a topic holds now; the order of each partition is kept.

    Raises:
        TimeoutError: the broker was silent for half a minute.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with _answering(topic):
            await consumer.start()
            ends = await _from_beginning(consumer, topic)
        while records := await _next(consumer, topic, ends):
            for record in records:
                yield record
    finally:
        await stop_client(consumer, timeout_s=_STOP_S)


async def _from_beginning(consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    """Set the consumer to the beginning of the topic, and return where that ends now."""
    await consumer._client.add_topic(topic)  # noqa: SLF001  # a consumer without a group asks for no others
    await consumer._client.force_metadata_update()  # noqa: SLF001  # as above
    places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
    return ends


async def _next(
    consumer: AIOKafkaConsumer, topic: str, ends: dict[TopicPartition, int]
) -> list[ConsumerRecord]:
    """Return what comes next; nothing where everything has been read."""
    async with _answering(topic):
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            if found:
                return [record for records in found.values() for record in records]
    return []


@asynccontextmanager
async def _answering(topic: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_SILENT_S):
            yield
    except TimeoutError as fault:
        raise TimeoutError(f"reading {topic}: Kafka was silent for {_SILENT_S:g} s") from fault

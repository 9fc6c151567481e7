"""Reads topics from an offset or a time to their present ends: no consumer group, bounded memory and time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self, TypeVar

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.stage import Record
from streams.errors import ConfigurationError, KafkaUnavailable
from streams.kafka.clients import start_client, stop_client
from streams.kafka.record_auth import RecordAuth

#: What one fetch may bring, in all and of a partition; a single larger record still comes alone.
_FETCH_BYTES = 8 * 1024 * 1024
_PARTITION_FETCH_BYTES = 1024 * 1024
_BATCH_RECORDS = 2_000
_POLL_MS = 200
#: Other questions wait behind a fetch, which the broker holds for so long where there is nothing.
_FETCH_WAIT_MS = 25

#: Where senders write, they set the times of their records. One that says that it is old may lie before the
#: first record of the time asked for, but not far before it: who reads such a topic gives this to
#: `TopicReader.spans`.
RECORDS_BEFORE = 1_000

T = TypeVar("T")

log = structlog.get_logger(__name__)


def as_record(found: ConsumerRecord, auth: RecordAuth) -> Record:
    """Return a record as the stages see it: a copy of a record is known by the first record's address."""
    return Record.read(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        timestamp_ms=found.timestamp,
        key=found.key,
        value=found.value,
        headers=found.headers,
        auth=auth,
    )


class OffsetSpan(msgspec.Struct, frozen=True):
    """Offsets of a partition: from `begin`, up to but without `end`.

    `truncated`: older records of the time asked for may have been deleted.
    """

    begin: int
    end: int
    truncated: bool = False

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.begin <= offset < self.end


class TopicReader:
    """A Kafka consumer that reads what is there, and then stops.

    Every method raises `KafkaUnavailable` where no broker answers in time. For example::

        async with TopicReader("127.0.0.1:9092", client_id="me", timeout_s=15) as reader:
            spans = await reader.spans(["llm.logs.v1"], since_ms=1_780_000_000_000)
            async for record in reader.read(spans): ...

    `timeout_s` is how long one call may take, and how long reading may go without progress.
    """

    def __init__(self, bootstrap: str, *, client_id: str, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s
        servers = bootstrap.split(",")
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers, client_id=client_id)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            client_id=client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # records expire while they are read: go on with what is left
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            retry_backoff_ms=20,  # a topic whose leader is not known yet is asked for once more
        )
        self._partitions: dict[str, list[TopicPartition]] = {}

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            for client in (self._admin, self._consumer):
                await self._ask(start_client(client, timeout_s=self._timeout_s))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *fault: object) -> None:
        """Disconnect, within the timeout and whatever state the brokers are in."""
        await self._stop()

    async def existing(self, topics: Iterable[str]) -> list[str]:
        """Return those of the topics that exist now."""
        # All are asked for: a broker may create a topic that is asked for by its name.
        described: list[dict[str, Any]] = await self._ask(self._admin.describe_topics())
        self._partitions = {
            each["topic"]: sorted(TopicPartition(each["topic"], p["partition"]) for p in each["partitions"])
            for each in described
            if each["error_code"] == 0 and each["partitions"]
        }
        return [topic for topic in topics if topic in self._partitions]

    async def spans(
        self,
        topics: Iterable[str],
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        records_before: int = 0,
    ) -> dict[TopicPartition, OffsetSpan]:
        """Return what each partition of the topics holds now.

        Args:
            topics: their names.
            since_ms: begin at the first record that was written at this time (Unix ms) or later.
            until_ms: end before the first record that was written at this time or later.
            records_before: begin so many records before that in each partition: see `RECORDS_BEFORE`.

        Raises:
            ConfigurationError: a topic does not exist.
        """
        partitions = [each for topic in topics for each in await self._partitions_of(topic)]
        if not partitions:
            return {}
        firsts = await self._ask(self._consumer.beginning_offsets(partitions))
        ends = await self._ask(self._consumer.end_offsets(partitions))
        begins = firsts if since_ms is None else await self._offsets_at(partitions, since_ms, ends)
        lasts = ends if until_ms is None else await self._offsets_at(partitions, until_ms, ends)
        return {
            each: OffsetSpan(
                max(firsts[each], begins[each] - records_before),
                min(ends[each], lasts[each]),
                truncated=since_ms is not None and 0 < firsts[each] == begins[each] < ends[each],
            )
            for each in partitions
        }

    async def read(self, spans: Mapping[TopicPartition, OffsetSpan]) -> AsyncGenerator[ConsumerRecord, None]:
        """Yield the records of these spans, each partition's in order. Deleted ones are passed over."""
        left = {each: span for each, span in spans.items() if span.begin < span.end}
        consumer = self._consumer
        consumer.assign(list(left))
        for partition, span in left.items():
            consumer.seek(partition, span.begin)
        before, moved_at = dict[TopicPartition, int](), time.monotonic()
        while left:
            polling = consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_RECORDS)
            for partition, records in (await self._ask(polling)).items():
                for record in records:
                    if partition in left and record.offset < left[partition].end:
                        yield record
            # By position and not by the last record: the rest may be compacted gaps or transaction markers.
            positions = {each: await self._ask(consumer.position(each)) for each in left}
            for partition in [each for each in left if positions[each] >= left[each].end]:
                consumer.pause(partition)
                del left[partition]
            if positions != before:
                before, moved_at = positions, time.monotonic()
            elif time.monotonic() - moved_at > self._timeout_s:
                names = ", ".join(f"{each.topic}:{each.partition}" for each in left)
                raise KafkaUnavailable(f"Kafka at {self._bootstrap} sends nothing of {names} any more")

    async def first_records(self, spans: Mapping[TopicPartition, OffsetSpan]) -> list[ConsumerRecord]:
        """Return the first record of each span; spans without records are left out."""
        found: dict[TopicPartition, ConsumerRecord] = {}
        async with aclosing(self.read(spans)) as records:
            async for record in records:
                found.setdefault(TopicPartition(record.topic, record.partition), record)
                if len(found) == len(spans):
                    break
        return list(found.values())

    async def record_at(self, topic: str, partition: int, offset: int) -> ConsumerRecord | None:
        """Return one record, or None where there is none (any more, or yet).

        Raises:
            ConfigurationError: the topic does not exist.
        """
        wanted = TopicPartition(topic, partition)
        spans = await self.spans([topic])
        if wanted not in spans or offset not in spans[wanted]:
            return None
        return next(iter(await self.first_records({wanted: OffsetSpan(offset, offset + 1)})), None)

    async def committed(self, prefix: str) -> dict[str, dict[TopicPartition, int]]:
        """Return the committed offsets of every consumer group whose name begins with `prefix`."""
        groups = await self._ask(self._admin.list_consumer_groups())
        return {
            name: {
                partition: commit.offset
                for partition, commit in (
                    await self._ask(self._admin.list_consumer_group_offsets(name))
                ).items()
                if commit.offset >= 0
            }
            for name, *_ in groups
            if name.startswith(prefix)
        }

    async def _partitions_of(self, topic: str) -> Sequence[TopicPartition]:
        if topic not in self._partitions and not await self.existing([topic]):
            raise ConfigurationError(f"Kafka has no topic {topic}: run `headrace topics create`")
        return self._partitions[topic]

    async def _offsets_at(
        self, partitions: Sequence[TopicPartition], at_ms: int, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return the first offsets of a time or later; the ends where there is nothing so new."""
        found = await self._ask(self._consumer.offsets_for_times(dict.fromkeys(partitions, at_ms)))
        return {each: found[each].offset if found.get(each) else ends[each] for each in partitions}

    async def _stop(self) -> None:
        stopping = (stop_client(each, timeout_s=self._timeout_s) for each in (self._admin, self._consumer))
        for fault in await asyncio.gather(*stopping):
            if fault is not None:
                log.warning("topic_reader.close_failed", error=fault)

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(question, self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"Kafka at {self._bootstrap} does not answer: {fault!r}") from fault

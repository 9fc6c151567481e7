"""Reads topics from an offset or a time to their present ends: no consumer group, bounded memory and time."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import islice
from typing import Any, TypeVar

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from streams.errors import ConfigurationError
from streams.kafka.inspector import KafkaInspector
from streams.pipeline import ENTRANCES

#: Where senders write, they set the times of their records. One that says that it is old may lie before the
#: first record of the time asked for, but not far before it: who reads such a topic gives this to
#: `TopicReader.spans`.
RECORDS_BEFORE = 1_000
#: What each of the topics carries where requests come in.
REQUEST_EVENTS: Mapping[str, Any] = {topic.name: topic.event for topic in ENTRANCES}


class OffsetSpan(msgspec.Struct, frozen=True):
    """Offsets of a partition, without `end`. `truncated`: older records of the time may have been deleted."""

    begin: int
    end: int
    truncated: bool = False

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.begin <= offset < self.end


class TopicReader(KafkaInspector):
    """A Kafka consumer that reads what is there, and then stops.

    Every method raises `KafkaUnavailable` where no broker answers in time. `timeout_s` is how long one call
    may take, and how long reading may go without progress.
    """

    async def spans(
        self,
        topics: Iterable[str],
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        records_before: int = 0,
        missing_ok: bool = False,
    ) -> dict[TopicPartition, OffsetSpan]:
        """Return what each partition of the topics holds now.

        Begin at the first record that was written at `since_ms` or later, or so many records before it (see
        `RECORDS_BEFORE`); end before the first one of `until_ms` or later. Raises `ConfigurationError`: a
        topic does not exist, unless `missing_ok`.
        """
        topics = tuple(topics)
        partitions = await self.partitions(topics)
        if not missing_ok and (missing := set(topics) - {each.topic for each in partitions}):
            raise ConfigurationError(f"Kafka has no topic {min(missing)}: run `headrace topics create`")
        if not partitions:
            return {}
        firsts, ends = await self.beginning_offsets(partitions), await self.end_offsets(partitions)
        # Where there is nothing so new, a span is at the end.
        begins = firsts if since_ms is None else ends | await self.offsets_for_time(partitions, since_ms)
        lasts = ends if until_ms is None else ends | await self.offsets_for_time(partitions, until_ms)
        return {
            each: OffsetSpan(
                max(firsts[each], begins[each] - records_before),
                min(ends[each], lasts[each]),
                truncated=since_ms is not None and 0 < firsts[each] == begins[each] < ends[each],
            )
            for each in sorted(partitions)
        }

    async def records(
        self, spans: Mapping[TopicPartition, OffsetSpan]
    ) -> AsyncGenerator[ConsumerRecord, None]:
        """Yield the records of these spans, each partition's in order. Deleted ones are passed over."""
        begins = {each: span.begin for each, span in spans.items()}
        ends = {each: span.end for each, span in spans.items()}
        async with aclosing(self.read_between(begins, ends)) as records:
            async for record in records:
                yield record

    async def first_records(self, spans: Mapping[TopicPartition, OffsetSpan]) -> list[ConsumerRecord]:
        """Return the first record of each span; spans without records are left out."""
        found: dict[TopicPartition, ConsumerRecord] = {}
        async with aclosing(self.records(spans)) as records:
            async for record in records:
                found.setdefault(TopicPartition(record.topic, record.partition), record)
                if len(found) == len(spans):
                    break
        return list(found.values())

    async def record_at(self, topic: str, partition: int, offset: int) -> ConsumerRecord | None:
        """Return one record, or None where there is none (any more, or yet). Raises `ConfigurationError`."""
        wanted = TopicPartition(topic, partition)
        spans = await self.spans([topic])
        if wanted not in spans or offset not in spans[wanted]:
            return None
        return next(iter(await self.first_records({wanted: OffsetSpan(offset, offset + 1)})), None)


T = TypeVar("T")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch

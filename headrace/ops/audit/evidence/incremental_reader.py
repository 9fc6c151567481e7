"""Reads topics to their ends, each time from where the last read ended."""

from collections.abc import Callable, Iterable

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from headrace.ops.audit.evidence.records import TopicRead
from headrace.ops.topic_reader import OffsetSpan, TopicReader


class PartitionRead(msgspec.Struct, kw_only=True):
    """What has been read of a partition.

    `truncated`: older records of the time asked for may have been deleted. Times are when the first and the
    last record were written.
    """

    next_offset: int
    truncated: bool = False
    first_ms: int | None = None
    last_ms: int | None = None
    records: int = 0


class IncrementalReader:
    """Reads what has come since the last read."""

    def __init__(self, topics: TopicReader) -> None:
        self._topics = topics
        self.partitions: dict[TopicPartition, PartitionRead] = {}

    async def read(
        self,
        topics: Iterable[str],
        add: Callable[[ConsumerRecord], None],
        *,
        since_ms: int,
        until_ms: int | None = None,
        records_before: int = 0,
    ) -> None:
        """Hand every new record of the topics to `add`. Topics that do not exist are passed over.

        The first read of a topic begins at the first record written at or after `since_ms`, or so many
        records before it. A read ends where the topic ended when it was begun, or before the first record
        written at or after `until_ms`.
        """
        existing = await self._topics.existing(topics)
        spans = await self._topics.spans(
            existing, since_ms=since_ms, until_ms=until_ms, records_before=records_before
        )
        for partition, span in spans.items():
            new = PartitionRead(next_offset=span.begin, truncated=span.truncated)
            self.partitions.setdefault(partition, new)
        unread = {
            each: OffsetSpan(self.partitions[each].next_offset, span.end) for each, span in spans.items()
        }
        async for record in self._topics.read(unread):
            read = self.partitions[TopicPartition(record.topic, record.partition)]
            if read.first_ms is None:
                read.first_ms = record.timestamp
            read.last_ms = max(read.last_ms or 0, record.timestamp)
            read.records += 1
            add(record)
        for partition, span in unread.items():
            read = self.partitions[partition]
            read.next_offset = max(read.next_offset, span.end)

    def read_of(self, topic: str, *, since_ms: int) -> TopicRead:
        """Return how a topic was read.

        What was deleted of the time before `since_ms` is not missed.
        """
        reads = [each for partition, each in self.partitions.items() if partition.topic == topic]
        cut = [each.first_ms for each in reads if each.truncated and each.first_ms is not None]
        return TopicRead(
            topic=topic,
            records=sum(each.records for each in reads),
            last_ms=max((each.last_ms for each in reads if each.last_ms is not None), default=None),
            truncated_ms=max((each for each in cut if each > since_ms), default=None),
            gone=not reads,
        )

"""Reads topics on from where the last read ended, and how far the consumer groups have come."""

from collections.abc import Callable, Iterable

from aiokafka import ConsumerRecord, TopicPartition

from headrace.ops.audit.evidence import GroupPosition, KafkaEvidence, TopicRead
from headrace.ops.topic_reader import OffsetSpan, TopicReader
from streams.kafka.inspector import Offsets
from streams.pipeline import RELAY, SINK, STAGES, ConsumerSpec


class IncrementalReader:
    """Reads what has come since the last read. `reads` says how each topic was read."""

    def __init__(self, topics: TopicReader) -> None:
        self._topics = topics
        self._next_offsets: dict[TopicPartition, int] = {}
        #: Partitions of which nothing was read yet, and whose older records may have been deleted.
        self._truncated: set[TopicPartition] = set()
        self.reads: dict[str, TopicRead] = {}

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
        topics = tuple(topics)
        spans = await self._topics.spans(
            topics, since_ms=since_ms, until_ms=until_ms, records_before=records_before, missing_ok=True
        )
        existing = {partition.topic for partition in spans}
        for topic in topics:
            self.reads.setdefault(topic, TopicRead(topic=topic, gone=True)).gone &= topic not in existing
        for partition, span in spans.items():
            if partition not in self._next_offsets:
                self._next_offsets[partition] = span.begin
                self._truncated |= {partition} if span.truncated else set()
        unread = {each: OffsetSpan(self._next_offsets[each], span.end) for each, span in spans.items()}
        async for record in self._topics.records(unread):
            read, partition = self.reads[record.topic], TopicPartition(record.topic, record.partition)
            if partition in self._truncated:
                self._truncated.remove(partition)
                read.truncated_ms = max(read.truncated_ms or 0, record.timestamp)
            read.last_ms = max(read.last_ms or 0, record.timestamp)
            read.records += 1
            add(record)
        for partition, span in unread.items():
            self._next_offsets[partition] = max(span.begin, span.end)


async def read_positions(topics: TopicReader, evidence: KafkaEvidence) -> None:
    """Ask the brokers how far each group has come, and enter it into the evidence.

    To be called before the topics are read: what a group had finished by then, and so everything that it made
    of it, is in what is read afterwards.
    """
    read = {spec.source.name for spec in (*STAGES, SINK, RELAY)}
    partitions, known = await topics.partitions(read), await topics.groups()
    commits: dict[str, Offsets] = {}
    for spec in (*STAGES, SINK, RELAY):
        own = [each for each in partitions if each.topic == spec.source.name and spec.group in known]
        commits[spec.group] = await topics.committed_offsets(spec.group, own)
    spans = await topics.spans(read, missing_ok=True)

    async def position(spec: ConsumerSpec) -> GroupPosition:
        done = commits[spec.group]
        here = {each: span for each, span in spans.items() if each.topic == spec.source.name}
        # Deleted records do not wait; a group without a commit begins at the beginning.
        at = {each: max(done.get(each, 0), span.begin) for each, span in here.items()}
        unfinished = {each: OffsetSpan(at[each], span.end) for each, span in here.items()}
        behind = {each: span for each, span in unfinished.items() if span.begin < span.end}
        oldest = await topics.first_records(behind)
        return GroupPosition(
            group=spec.group,
            topic=spec.source.name,
            offsets={each.partition: offset for each, offset in at.items()},
            ends={each.partition: span.end for each, span in here.items()},
            oldest_ms=min((record.timestamp for record in oldest), default=None),
        )

    evidence.stages = tuple([await position(spec) for spec in STAGES])
    evidence.sink = await position(SINK)
    evidence.relay = await position(RELAY) if commits[RELAY.group] else None

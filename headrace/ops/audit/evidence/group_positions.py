"""How far the consumer groups have come: the stages, the sink, and whoever reads the retry topic."""

from headrace.ops.audit.evidence.records import GroupPosition, KafkaEvidence
from headrace.ops.topic_reader import OffsetSpan, TopicReader
from streams.pipeline import GROUP_PREFIX, SINK, STAGES
from streams.topics import RETRIES


async def read_positions(topics: TopicReader, evidence: KafkaEvidence) -> None:
    """Ask the brokers how far each group has come, and enter it into the evidence.

    To be called before the topics are read: what a group had finished by then, and so everything that it made
    of it, is in what is read afterwards.
    """
    read = {spec.source.name for spec in (*STAGES, SINK)} | {RETRIES.name}
    existing = await topics.existing(sorted(read))
    commits = await topics.committed(GROUP_PREFIX, existing)  # before the ends, which must not lie below
    spans = await topics.spans(existing)

    async def position(group: str, topic: str) -> GroupPosition:
        done = commits.get(group, {})
        here = {each: span for each, span in spans.items() if each.topic == topic}
        # What retention has deleted is no work any more; and a new group begins at the beginning.
        at = {each: max(done.get(each, 0), span.begin) for each, span in here.items()}
        unfinished = {each: OffsetSpan(at[each], span.end) for each, span in here.items()}
        behind = {each: span for each, span in unfinished.items() if span.begin < span.end}
        oldest = await topics.first_records(behind)
        return GroupPosition(
            group=group,
            topic=topic,
            offsets={each.partition: offset for each, offset in at.items()},
            ends={each.partition: span.end for each, span in here.items()},
            oldest_ms=min((record.timestamp for record in oldest), default=None),
        )

    retrying = [
        group for group, offsets in commits.items() if any(each.topic == RETRIES.name for each in offsets)
    ]
    evidence.stages = tuple([await position(spec.group, spec.source.name) for spec in STAGES])
    evidence.sink = await position(SINK.group, SINK.source.name)
    evidence.retrying = tuple([await position(group, RETRIES.name) for group in retrying])

"""The lag of each consumer group on the topic that it reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiokafka import TopicPartition

from streams.kafka.inspector import KafkaInspector, Offsets
from streams.pipeline import GROUP_PREFIX, PIPELINE

#: What each group reads, by the name of its stage, in the order in which a request meets them.
SOURCES: Final[Mapping[str, str]] = {spec.name: spec.source.name for spec in PIPELINE}

#: Ages are found by doubling from the first one.
_FIRST_AGE: Final = timedelta(seconds=1)
_LAST_AGE: Final = timedelta(days=7)


class GroupLag(msgspec.Struct, frozen=True, kw_only=True):
    """The lag of one group.

    `lag` counts records that are waiting or in work; `oldest_s` is the age that the oldest has reached: 0
    (below a second), 1, 2, 4, 8, … seconds. Without `members` nobody works on it.
    """

    stage: str
    group: str
    topic: str
    lag: int
    oldest_s: float
    members: int


async def read_lags(
    kafka: KafkaInspector, *, now: datetime, sources: Mapping[str, str] = SOURCES
) -> Sequence[GroupLag]:
    """Return the lag of every group whose topic exists."""
    partitions = await kafka.partitions(sources.values())
    read = {stage: [each for each in partitions if each.topic == topic] for stage, topic in sources.items()}
    committed = {stage: await kafka.committed_offsets(GROUP_PREFIX + stage, read[stage]) for stage in sources}
    members = {stage: await kafka.group_size(GROUP_PREFIX + stage) for stage in sources}
    begins, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
    # What retention has deleted is no work any more; a group without a commit begins at the beginning.
    unfinished = {
        stage: _unfinished(own, committed[stage], begins, ends) for stage, own in read.items() if own
    }
    ages = await _ages(kafka, unfinished, now)
    return tuple(
        GroupLag(
            stage=stage,
            group=GROUP_PREFIX + stage,
            topic=sources[stage],
            lag=sum(ends[each] - at for each, at in offsets.items()),
            oldest_s=ages.get(stage, 0.0),
            members=members[stage],
        )
        for stage, offsets in unfinished.items()
    )


def _unfinished(
    partitions: Sequence[TopicPartition], committed: Offsets, begins: Offsets, ends: Offsets
) -> Offsets:
    first = {each: max(committed.get(each, 0), begins[each]) for each in partitions}
    return {each: at for each, at in first.items() if at < ends[each]}


async def _ages(kafka: KafkaInspector, unfinished: Mapping[str, Offsets], now: datetime) -> dict[str, float]:
    """Return the age of each group's oldest record in seconds, to a factor of two.

    The brokers are asked for the offsets of a time, for all partitions at once: no record is read.
    """
    ages: dict[str, float] = {}
    age = _FIRST_AGE
    left = {stage: offsets for stage, offsets in unfinished.items() if offsets}
    while left and age <= _LAST_AGE:
        at_ms = int((now - age).timestamp() * 1000)
        found = await kafka.offsets_for_time(list({at for offsets in left.values() for at in offsets}), at_ms)
        left = {
            stage: offsets
            for stage, offsets in left.items()
            if any(each not in found or at < found[each] for each, at in offsets.items())
        }
        ages |= dict.fromkeys(left, age.total_seconds())
        age *= 2
    return ages

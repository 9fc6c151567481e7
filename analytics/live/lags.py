"""The lag of each consumer group on the topic that it reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiokafka import TopicPartition

from analytics.kafka_inspector import KafkaInspector, Offsets
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


class GroupBacklog(msgspec.Struct):
    """What a group has not finished: for each partition with a lag, the first such offset."""

    stage: str
    offsets: Offsets
    lag: int
    oldest_s: float = 0.0


async def read_lags(
    kafka: KafkaInspector, *, now: datetime, sources: Mapping[str, str] = SOURCES
) -> Sequence[GroupLag]:
    """Return the lag of every group whose topic exists."""
    partitions = await kafka.partitions(sources.values())
    read = {stage: [each for each in partitions if each.topic == topic] for stage, topic in sources.items()}
    committed = {stage: await kafka.committed_offsets(GROUP_PREFIX + stage, read[stage]) for stage in sources}
    members = {stage: await kafka.group_size(GROUP_PREFIX + stage) for stage in sources}
    begins, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
    groups = [
        _backlog(stage, committed[stage], read[stage], begins, ends) for stage in sources if read[stage]
    ]
    await _find_ages(kafka, groups, now)
    return tuple(
        GroupLag(
            stage=each.stage,
            group=GROUP_PREFIX + each.stage,
            topic=sources[each.stage],
            lag=each.lag,
            oldest_s=each.oldest_s,
            members=members[each.stage],
        )
        for each in groups
    )


def _backlog(
    stage: str, committed: Offsets, partitions: Sequence[TopicPartition], begins: Offsets, ends: Offsets
) -> GroupBacklog:
    # What retention has deleted is no work any more; a group without a commit begins at the beginning.
    next_offsets = {each: max(committed.get(each, 0), begins[each]) for each in partitions}
    waiting = {each: at for each, at in next_offsets.items() if at < ends[each]}
    return GroupBacklog(
        stage=stage, offsets=waiting, lag=sum(ends[each] - at for each, at in waiting.items())
    )


async def _find_ages(kafka: KafkaInspector, groups: Sequence[GroupBacklog], now: datetime) -> None:
    """Set the age of each group's oldest record, to a factor of two.

    The brokers are asked for the offsets of a time, for all partitions at once: no record is read.
    """
    age = _FIRST_AGE
    left = [each for each in groups if each.lag]
    while left and age <= _LAST_AGE:
        at_ms = int((now - age).timestamp() * 1000)
        found = await kafka.offsets_for_time(list({at for each in left for at in each.offsets}), at_ms)
        left = [each for each in left if _has_older(each, found)]
        for each in left:
            each.oldest_s = age.total_seconds()
        age *= 2


def _has_older(backlog: GroupBacklog, found: Offsets) -> bool:
    """Whether an unfinished record is older than the time whose offsets were `found`."""
    return any(each not in found or at < found[each] for each, at in backlog.offsets.items())

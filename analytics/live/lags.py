"""How far each consumer group has come on the topic that it reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiokafka import TopicPartition

from analytics.kafka_questions import KafkaQuestions
from streams import pipeline

SINK: Final = pipeline.SINK.name
RETRYING: Final = pipeline.RELAY.name

#: What each group reads, in the order in which a request meets them; a group is named after its stage.
SOURCES: Final[Mapping[str, str]] = {spec.name: spec.source.name for spec in pipeline.PIPELINE}
#: A request that was accepted and is not settled yet is a record that one of these has not finished.
IN_FLIGHT: Final = tuple(spec.name for spec in pipeline.STAGES)

#: Ages are found by doubling from the first one.
_FIRST_AGE: Final = timedelta(seconds=1)
_LAST_AGE: Final = timedelta(days=7)


class GroupLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group is behind.

    Attributes:
        stage: whose group it is.
        group: its name.
        topic: what it reads.
        lag: records that it has not finished: those that wait, and those that it works on.
        oldest_s: the age that the oldest of them has reached: 0 (below a second), 1, 2, 4, 8, … seconds.
        members: consumers in the group; 0: nobody works on it.
    """

    stage: str
    group: str
    topic: str
    lag: int
    oldest_s: float
    members: int


class Behind(msgspec.Struct):
    """What a group has not finished: by partition, where it stands."""

    stage: str
    offsets: dict[TopicPartition, int]
    lag: int
    oldest_s: float = 0.0


async def read_lags(
    kafka: KafkaQuestions, *, now: datetime, sources: Mapping[str, str] = SOURCES
) -> Sequence[GroupLag]:
    """Return the lag of every group whose topic exists.

    Args:
        kafka: answers.
        now: what ages count to.
        sources: what is read, by stage.

    Raises:
        KafkaUnavailable: no broker answered in time.
    """
    partitions = await kafka.partitions(sources.values())
    read = {stage: [each for each in partitions if each.topic == topic] for stage, topic in sources.items()}
    committed = {
        stage: await kafka.committed(pipeline.GROUP_PREFIX + stage, read[stage]) for stage in sources
    }
    members = {stage: await kafka.members(pipeline.GROUP_PREFIX + stage) for stage in sources}
    begins, ends = await kafka.begins(partitions), await kafka.ends(partitions)
    groups = [_behind(stage, committed[stage], read[stage], begins, ends) for stage in sources if read[stage]]
    await _find_ages(kafka, groups, now)
    return tuple(
        GroupLag(
            stage=each.stage,
            group=pipeline.GROUP_PREFIX + each.stage,
            topic=sources[each.stage],
            lag=each.lag,
            oldest_s=each.oldest_s,
            members=members[each.stage],
        )
        for each in groups
    )


def _behind(
    stage: str,
    committed: Mapping[TopicPartition, int],
    partitions: Sequence[TopicPartition],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> Behind:
    # What retention has deleted is no work any more; a group without a commit begins at the beginning.
    stand = {each: max(committed.get(each, 0), begins[each]) for each in partitions}
    waiting = {each: at for each, at in stand.items() if at < ends[each]}
    return Behind(stage=stage, offsets=waiting, lag=sum(ends[each] - at for each, at in waiting.items()))


async def _find_ages(kafka: KafkaQuestions, groups: Sequence[Behind], now: datetime) -> None:
    """Say of each group how old its oldest record has become, to a factor of two.

    The brokers are asked where the records of a time begin, for all partitions at once: no record is read.
    """
    age = _FIRST_AGE
    left = [each for each in groups if each.lag]
    while left and age <= _LAST_AGE:
        at_ms = int((now - age).timestamp() * 1000)
        places = await kafka.offsets_at(list({place for each in left for place in each.offsets}), at_ms)
        left = [each for each in left if _has_older(each, places)]
        for each in left:
            each.oldest_s = age.total_seconds()
        age *= 2


def _has_older(behind: Behind, places: Mapping[TopicPartition, int]) -> bool:
    """Whether a record that is not finished is older than the time at which `places` begin."""
    return any(place not in places or at < places[place] for place, at in behind.offsets.items())

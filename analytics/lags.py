"""The lag of each consumer group on the topic that it reads, and how far the sinks are."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiokafka import TopicPartition

from streams.errors import KafkaUnavailable
from streams.kafka.inspector import KafkaInspector, Offsets
from streams.pipeline import GROUP_PREFIX, PIPELINE, SINK

#: What each group reads, by the name of its stage, in the order in which a request meets them.
SOURCES: Final[Mapping[str, str]] = {spec.name: spec.source.name for spec in PIPELINE}

#: Ages are found by doubling from the first one; topics keep nothing older than the last.
_FIRST_AGE: Final = timedelta(seconds=1)
_LAST_AGE: Final = timedelta(days=30)


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
    unfinished = {
        stage: {
            at: first for at, first in _settled(committed[stage], own, begins).items() if first < ends[at]
        }
        for stage, own in read.items()
        if own
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


def _settled(committed: Offsets, partitions: Sequence[TopicPartition], begins: Offsets) -> Offsets:
    # What retention has deleted is no work any more; a group without a commit begins at the beginning.
    return {each: max(committed.get(each, 0), begins[each]) for each in partitions}


async def _ages(kafka: KafkaInspector, unfinished: Mapping[str, Offsets], now: datetime) -> dict[str, float]:
    # The brokers are asked for the offsets of a time, for all partitions at once: no record is read.
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


class SinkProgress:
    """Asks Kafka which log records no sink has stored yet."""

    def __init__(
        self, bootstrap: str, *, timeout_s: float, topic: str = SINK.source.name, group: str = SINK.group
    ) -> None:
        self._kafka = KafkaInspector(bootstrap, client_id="headrace.watcher.progress", timeout_s=timeout_s)
        self._topic = topic
        self._group = group

    async def lag(self) -> int:
        """Return how many records are not stored yet."""
        partitions = await self._partitions()
        ends = await self._kafka.end_offsets(partitions)
        stored = await self._stored(partitions)
        return sum(max(ends[each] - stored[each], 0) for each in partitions)

    async def stored_before(self, at: datetime) -> bool:
        """Return whether every record that was written before `at` is stored."""
        partitions = await self._partitions()
        # The ends first: a record that is written meanwhile is later than they are.
        ends = await self._kafka.end_offsets(partitions)
        found = await self._kafka.offsets_for_time(partitions, int(at.timestamp() * 1000))
        stored = await self._stored(partitions)
        return all(stored[each] >= found.get(each, ends[each]) for each in partitions)

    async def oldest_s(self, now: datetime, *, at_least: timedelta) -> float:
        """Return the age in seconds, to a factor of two, of the oldest record that is not stored yet.

        0 where none is as old as `at_least`.
        """
        age, found = at_least, timedelta(0)
        while (not found or age <= _LAST_AGE) and not await self.stored_before(now - age):
            found, age = age, 2 * age
        return found.total_seconds()

    async def close(self) -> None:
        """Disconnect."""
        await self._kafka.close()

    async def _stored(self, partitions: list[TopicPartition]) -> Offsets:
        committed = await self._kafka.committed_offsets(self._group, partitions)
        return _settled(committed, partitions, await self._kafka.beginning_offsets(partitions))

    async def _partitions(self) -> list[TopicPartition]:
        partitions = await self._kafka.partitions([self._topic])
        if not partitions:
            raise KafkaUnavailable(f"there is no topic {self._topic}: run `headrace topics create`")
        return partitions

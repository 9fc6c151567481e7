"""How far the sinks are, over all processes: what their group has committed against what the topic holds."""

from datetime import datetime, timedelta

from aiokafka import TopicPartition

from analytics.kafka_inspector import KafkaInspector, Offsets
from streams.errors import KafkaUnavailable
from streams.pipeline import SINK

#: Ages are found by doubling from the first one asked for; the topic keeps nothing older than this.
_OLDEST = timedelta(days=30)


class SinkProgress:
    """Asks Kafka which records are not stored yet.

    Every method raises `KafkaUnavailable` where the broker does not answer in time.
    """

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
        while (not found or age <= _OLDEST) and not await self.stored_before(now - age):
            found, age = age, 2 * age
        return found.total_seconds()

    async def close(self) -> None:
        """Disconnect."""
        await self._kafka.close()

    async def _stored(self, partitions: list[TopicPartition]) -> Offsets:
        """Return the offset up to which each partition is stored; its first where nothing is committed."""
        committed = await self._kafka.committed_offsets(self._group, partitions)
        begins = await self._kafka.beginning_offsets(partitions)
        return {each: max(committed.get(each, 0), begins[each]) for each in partitions}

    async def _partitions(self) -> list[TopicPartition]:
        partitions = await self._kafka.partitions([self._topic])
        if not partitions:
            raise KafkaUnavailable(f"there is no topic {self._topic}: run `headrace topics create`")
        return partitions

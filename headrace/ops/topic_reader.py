"""Reads topics from an offset or a time to their present ends: no consumer group, bounded memory and time."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Self

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from streams.errors import ConfigurationError
from streams.kafka.inspector import KafkaInspector, Offsets

#: Where senders write, they set the times of their records. One that says that it is old may lie before the
#: first record of the time asked for, but not far before it: who reads such a topic gives this to
#: `TopicReader.spans`.
RECORDS_BEFORE = 1_000


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
        self._kafka = KafkaInspector(bootstrap, client_id=client_id, timeout_s=timeout_s)
        self._partitions: dict[str, list[TopicPartition]] = {}

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._kafka.__aenter__()
        return self

    async def __aexit__(self, *fault: object) -> None:
        """Disconnect, within the timeout and whatever state the brokers are in."""
        await self._kafka.close()

    async def existing(self, topics: Iterable[str]) -> list[str]:
        """Return those of the topics that exist now."""
        wanted = list(topics)
        found = sorted(await self._kafka.partitions(wanted))
        self._partitions |= {name: [each for each in found if each.topic == name] for name in wanted}
        return [name for name in wanted if self._partitions[name]]

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
        firsts = await self._kafka.beginning_offsets(partitions)
        ends = await self._kafka.end_offsets(partitions)
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
        begins = {each: span.begin for each, span in spans.items()}
        ends = {each: span.end for each, span in spans.items()}
        async with aclosing(self._kafka.read_between(begins, ends)) as records:
            async for record in records:
                yield record

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

    async def committed(self, prefix: str, topics: Iterable[str]) -> dict[str, Offsets]:
        """Return what every consumer group whose name begins with `prefix` has committed of the topics."""
        partitions = [each for topic in topics for each in await self._partitions_of(topic)]
        return {
            group: await self._kafka.committed_offsets(group, partitions)
            for group in await self._kafka.groups()
            if group.startswith(prefix)
        }

    async def _partitions_of(self, topic: str) -> Sequence[TopicPartition]:
        if not self._partitions.get(topic) and not await self.existing([topic]):
            raise ConfigurationError(f"Kafka has no topic {topic}: run `headrace topics create`")
        return self._partitions[topic]

    async def _offsets_at(self, partitions: list[TopicPartition], at_ms: int, ends: Offsets) -> Offsets:
        """Return the first offsets of a time or later; the ends where there is nothing so new."""
        return ends | await self._kafka.offsets_for_time(partitions, at_ms)

"""Reads a topic from a place or a time to its present end: no consumer group, bounded memory and time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.errors import ConfigurationError, KafkaUnavailable
from streams.kafka.clients import Client, stop_client

#: What one fetch may bring, in all and of a partition; a single larger record still comes alone.
_FETCH_BYTES = 8 * 1024 * 1024
_PARTITION_FETCH_BYTES = 1024 * 1024
_BATCH_RECORDS = 500
_POLL_MS = 200
#: Whatever else is asked waits behind a fetch, which the broker holds for so long where there is nothing.
_FETCH_WAIT_MS = 25

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Span(msgspec.Struct, frozen=True):
    """Offsets of a partition: from `begin`, up to but without `end`."""

    begin: int
    end: int

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.begin <= offset < self.end


class TopicReader:
    """A Kafka consumer that reads what is there, and then stops.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: how long one call may take, and how long reading may go without progress, in seconds.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._known: dict[str, list[int]] = {}

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            KafkaUnavailable: no broker answered.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            # Records expire while they are read: go on with the first that is left.
            auto_offset_reset="earliest",
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        try:
            await self._bounded(consumer.start())
        except BaseException:
            await self._close(consumer)
            raise
        self._consumer = consumer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, within the timeout and whatever state the brokers are in."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._close(consumer)

    async def spans(self, topic: str, *, since_ms: int | None = None) -> dict[TopicPartition, Span]:
        """Return what each partition holds now.

        Args:
            topic: the topic.
            since_ms: begin at the first record that was written at this time (Unix ms) or later.

        Raises:
            ConfigurationError: there is no such topic.
            KafkaUnavailable: no broker answered.
        """
        partitions = [TopicPartition(topic, number) for number in await self._partitions(topic)]
        begins, ends = await self._bounds(partitions)
        if since_ms is not None:
            found = await self._bounded(
                self._connected.offsets_for_times(dict.fromkeys(partitions, since_ms))
            )
            begins = {
                each: max(begins[each], found[each].offset) if found.get(each) else ends[each]
                for each in partitions
            }
        return {each: Span(begins[each], ends[each]) for each in partitions}

    async def read(self, spans: Mapping[TopicPartition, Span]) -> AsyncGenerator[ConsumerRecord, None]:
        """Yield the records of these spans, each partition's in order. Expired ones are passed over.

        Raises:
            KafkaUnavailable: no broker answered in time.
        """
        left = {each: span for each, span in spans.items() if span.begin < span.end}
        consumer = self._connected
        consumer.assign(list(left))
        for partition, span in left.items():
            consumer.seek(partition, span.begin)
        before, moved_at = dict[TopicPartition, int](), self._clock()
        while left:
            batches = await self._bounded(consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_RECORDS))
            for partition, records in batches.items():
                for record in records:
                    if partition in left and record.offset < left[partition].end:
                        yield record
            # By position and not by the last record: what is left may be gaps.
            positions = {each: await self._bounded(consumer.position(each)) for each in left}
            for partition in [each for each in left if positions[each] >= left[each].end]:
                consumer.pause(partition)
                del left[partition]
            if positions != before:
                before, moved_at = positions, self._clock()
            elif self._clock() - moved_at > self._timeout_s:
                raise KafkaUnavailable(
                    f"{self._bootstrap} sends nothing of {', '.join(map(_name, left))} any more"
                )

    async def record_at(self, topic: str, partition: int, offset: int) -> ConsumerRecord | None:
        """Return one record, or None where there is none (any more, or yet).

        Raises:
            ConfigurationError: there is no such topic.
            KafkaUnavailable: no broker answered in time.
        """
        if partition not in await self._partitions(topic):
            return None
        place = TopicPartition(topic, partition)
        begins, ends = await self._bounds([place])
        if not begins[place] <= offset < ends[place]:
            return None
        async with aclosing(self.read({place: Span(offset, offset + 1)})) as records:
            return await anext(records, None)

    @property
    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise KafkaUnavailable("the reader is not connected")
        return self._consumer

    async def _bounds(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return where each partition begins and ends now."""
        begins = await self._bounded(self._connected.beginning_offsets(partitions))
        return begins, await self._bounded(self._connected.end_offsets(partitions))

    async def _partitions(self, topic: str) -> list[int]:
        if topic not in self._known:
            self._known[topic] = await self._ask_for_partitions(topic)
        return self._known[topic]

    async def _ask_for_partitions(self, topic: str) -> list[int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap.split(","), client_id=self._client_id)
        try:
            await self._bounded(admin.start())
            described = await self._bounded(admin.describe_topics([topic]))
        finally:
            await self._close(admin)
        entry = next(entry for entry in described if entry["topic"] == topic)
        if entry["error_code"] or not entry["partitions"]:
            raise ConfigurationError(f"Kafka has no topic {topic}: run `headrace topics create`")
        return sorted(each["partition"] for each in entry["partitions"])

    async def _close(self, client: Client) -> None:
        if (fault := await stop_client(client, timeout_s=self._timeout_s)) is not None:
            log.warning("dlq.close_failed", error=fault)

    async def _bounded(self, call: Awaitable[T]) -> T:
        with self._broker_faults():
            return await asyncio.wait_for(call, self._timeout_s)

    @contextmanager
    def _broker_faults(self) -> Iterator[None]:
        try:
            yield
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"cannot read from Kafka at {self._bootstrap}: {fault!r}") from fault


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}:{partition.partition}"

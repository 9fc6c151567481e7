"""How far the sinks have come, over all of them: what they have committed against what the topic holds.

A sink's own status knows only its own partitions, and nothing once it is dead.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from analytics.offsets import CommittedOffsets
from streams.errors import KafkaUnavailable
from streams.kafka_clients import stop_client

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Ages are found by doubling from the first one asked for; the topic keeps nothing older than this.
_OLDEST = timedelta(days=30)


class SinkProgress:
    """Asks Kafka what is not stored yet.

    Every method raises `KafkaUnavailable` where the broker does not answer in time.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        topic: what the sinks read.
        group: the sinks' consumer group.
        timeout_s: what one step may take.
    """

    def __init__(self, bootstrap: str, *, topic: str, group: str, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._timeout_s = timeout_s
        self._committed = CommittedOffsets(bootstrap, group=group, timeout_s=timeout_s)
        self._consumer: AIOKafkaConsumer | None = None

    async def lag(self) -> int:
        """Return how many records are not stored yet."""
        partitions = await self._partitions()
        ends = await self._ask(self._connected.end_offsets(partitions))
        stored = await self._stored(partitions)
        return sum(max(ends[each] - stored[each], 0) for each in partitions)

    async def stored_before(self, at: datetime) -> bool:
        """Return whether every record that was written before `at` is stored."""
        partitions = await self._partitions()
        at_ms = max(int(at.timestamp() * 1000), 0)
        # The ends first: a record that is written meanwhile is later than they are.
        ends = await self._ask(self._connected.end_offsets(partitions))
        found = await self._ask(self._connected.offsets_for_times(dict.fromkeys(partitions, at_ms)))
        stored = await self._stored(partitions)
        return all(
            stored[each] >= (found[each].offset if found.get(each) is not None else ends[each])
            for each in partitions
        )

    async def oldest_s(self, now: datetime, *, at_least: timedelta) -> float:
        """Return the age in seconds, to a factor of two, that the oldest record not stored yet has reached.

        0 where none is as old as `at_least`.
        """
        age = at_least
        if await self.stored_before(now - age):
            return 0.0
        while 2 * age <= _OLDEST and not await self.stored_before(now - 2 * age):
            age *= 2
        return age.total_seconds()

    async def close(self) -> None:
        """Disconnect."""
        await self._committed.close()
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if (fault := await stop_client(consumer, timeout_s=self._timeout_s)) is not None:
            log.info("watcher.close_failed", error=fault)

    @property
    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise KafkaUnavailable("not connected")
        return self._consumer

    async def _stored(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset up to which each partition is stored; its first where nothing is committed."""
        committed = await self._committed.read(partitions)
        begins = await self._ask(self._connected.beginning_offsets(partitions))
        return {
            each: max(committed[each].offset if each in committed else 0, begins[each]) for each in partitions
        }

    async def _partitions(self) -> list[TopicPartition]:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                self._topic,
                bootstrap_servers=self._bootstrap.split(","),
                client_id="headrace.watcher.progress",
                group_id=None,
                enable_auto_commit=False,
            )
            self._consumer = consumer
            try:
                await self._ask(consumer.start())
            except KafkaUnavailable:
                await self.close()
                raise
            # Without a group it is given all partitions, to be read; it is only here to ask.
            consumer.pause(*consumer.assignment())
        numbers = self._connected.partitions_for_topic(self._topic) or ()
        if not numbers:
            raise KafkaUnavailable(f"there is no topic {self._topic}: run `headrace topics create`")
        return [TopicPartition(self._topic, number) for number in sorted(numbers)]

    async def _ask(self, call: Awaitable[T]) -> T:
        with self._faults():
            return await asyncio.wait_for(call, self._timeout_s)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"asking how far the sink is: {fault!r}") from fault

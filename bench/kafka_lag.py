"""How many records wait for each stage, from the offsets that its consumer group has committed."""

import asyncio
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.pipeline import path
from streams.topics import REQUESTS

_TIMEOUT_S = 20.0
_SOURCES = {spec.name: spec.source.name for spec in path(REQUESTS)}


class StageLag:
    """Reads the lag of every stage.

    Args:
        bootstrap: host:port of the broker.
        partitions: how many partitions each topic has.
    """

    def __init__(self, bootstrap: str, *, partitions: int = 4) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        self._partitions = {
            stage: [TopicPartition(topic, number) for number in range(partitions)]
            for stage, topic in _SOURCES.items()
        }

    async def __aenter__(self) -> Self:
        """Connect."""
        await asyncio.wait_for(self._admin.start(), _TIMEOUT_S)
        await asyncio.wait_for(self._consumer.start(), _TIMEOUT_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await asyncio.wait_for(self._consumer.stop(), _TIMEOUT_S)
        await asyncio.wait_for(self._admin.close(), _TIMEOUT_S)

    async def read(self) -> dict[str, int]:
        """Return how many records are not committed yet, by stage."""
        everything = [each for partitions in self._partitions.values() for each in partitions]
        ends = await asyncio.wait_for(self._consumer.end_offsets(everything), _TIMEOUT_S)
        lag = {}
        for stage, partitions in self._partitions.items():
            committed = await asyncio.wait_for(
                self._admin.list_consumer_group_offsets(f"headrace.{stage}"), _TIMEOUT_S
            )
            done = {place: max(0, offset.offset) for place, offset in committed.items()}
            lag[stage] = sum(ends[each] - done.get(each, 0) for each in partitions)
        return lag

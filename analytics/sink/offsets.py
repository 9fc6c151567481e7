"""Committed offsets, with the ranges of offsets that are announced in their metadata."""

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from streams.errors import KafkaUnavailable
from streams.kafka.clients import stop_client


class CommittedOffsets:
    """Reads what a consumer group has committed, metadata included (the consumer tells only offsets).

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        group: the consumer group.
        timeout_s: how long one look may take.
    """

    def __init__(self, bootstrap: str, *, group: str, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._timeout_s = timeout_s
        self._admin: AIOKafkaAdminClient | None = None

    async def read(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what is committed for each of the partitions; offset -1 where nothing is.

        Raises:
            KafkaUnavailable: no answer in time, or none yet.
        """
        try:
            return await asyncio.wait_for(self._read(list(partitions)), self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            await self.close()
            raise KafkaUnavailable(f"cannot read the offsets of {self._group}: {fault!r}") from fault

    async def close(self) -> None:
        """Disconnect, whatever state the broker is in."""
        if self._admin is not None:
            admin, self._admin = self._admin, None
            await stop_client(admin, timeout_s=self._timeout_s)

    async def _read(self, partitions: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        if self._admin is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap.split(","), client_id=self._group)
            self._admin = admin
            await admin.start()
        found: dict[TopicPartition, OffsetAndMetadata] = await self._admin.list_consumer_group_offsets(
            self._group, partitions=partitions
        )
        check_answered(self._group, partitions, found)
        return found


def check_answered(
    group: str, partitions: Iterable[TopicPartition], found: Mapping[TopicPartition, object]
) -> None:
    """Make sure that a broker has said of every partition what the group has committed.

    One that has no commit is answered with -1. A broker that does not know it, because it reads the group's
    commits just now or another one has them, answers with an error and no partitions; aiokafka 0.14 looks for
    errors at the partitions only. Taken for an answer it says that nothing was ever committed.

    Raises:
        KafkaUnavailable: partitions are missing.
    """
    missing = set(partitions) - set(found)
    if missing:
        raise KafkaUnavailable(f"the broker does not know yet what {group} has committed")

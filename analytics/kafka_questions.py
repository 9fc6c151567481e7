"""A Kafka connection that only asks: it joins no group, and every question ends in time."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from analytics.sink.offsets import check_answered
from streams.errors import KafkaUnavailable
from streams.kafka.clients import Client, start_client, stop_client

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Other questions wait behind a fetch, which the broker holds for so long where there is nothing.
_FETCH_WAIT_MS: Final = 50
_FETCH_BYTES: Final = 8 * 1024 * 1024
_PARTITION_FETCH_BYTES: Final = 512 * 1024
_BATCH_RECORDS: Final = 2_000


class KafkaQuestions:
    """Asks the brokers. It connects at its first question, and anew after a fault.

    Every method raises `KafkaUnavailable` where no broker answers in time. Used by one task at a time.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the brokers' logs and metrics show.
        timeout_s: how long one question may take.
    """

    def __init__(self, bootstrap: str, *, client_id: str, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return the partitions of those topics that exist."""
        wanted = set(topics)
        described: list[dict[str, Any]] = await self._ask((await self._admins()).describe_topics())
        return [
            TopicPartition(each["topic"], partition["partition"])
            for each in described
            if each["topic"] in wanted and each["error_code"] == 0
            for partition in each["partitions"]
        ]

    async def begins(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset of each partition that is still kept."""
        found: dict[TopicPartition, int] = await self._ask(
            (await self._reader()).beginning_offsets(partitions)
        )
        return found

    async def ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where each partition ends."""
        found: dict[TopicPartition, int] = await self._ask((await self._reader()).end_offsets(partitions))
        return found

    async def offsets_at(self, partitions: list[TopicPartition], at_ms: int) -> dict[TopicPartition, int]:
        """Return the first record of a time (Unix ms) or later; partitions without one are left out."""
        if not partitions:
            return {}
        asked = dict.fromkeys(partitions, max(at_ms, 0))
        found = await self._ask((await self._reader()).offsets_for_times(asked))
        return {each: place.offset for each, place in found.items() if place is not None}

    async def committed(self, group: str, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return what a group has committed of these; those of which it has nothing are left out."""
        if not partitions:
            return {}
        asking = (await self._admins()).list_consumer_group_offsets(group, partitions=partitions)
        found = await self._ask(asking)
        check_answered(group, partitions, found)
        return {each: commit.offset for each, commit in found.items() if commit.offset >= 0}

    async def members(self, group: str) -> int:
        """Return how many members a group has; none where there is no such group."""
        # One at a time: aiokafka 0.14 reads version 3 of the answer as version 2, wrong from the second on.
        answers = await self._ask((await self._admins()).describe_consumer_groups([group]))
        return sum(len(each["members"]) for answer in answers for each in answer.to_object()["groups"])

    async def read(
        self, begins: Mapping[TopicPartition, int]
    ) -> tuple[dict[TopicPartition, list[ConsumerRecord]], dict[TopicPartition, int]]:
        """Return some records from these offsets on, and the offsets up to which they go."""
        consumer = await self._reader()
        if consumer.assignment() != set(begins):
            consumer.assign(list(begins))
        for partition, offset in begins.items():
            consumer.seek(partition, offset)
        records = await self._ask(consumer.getmany(timeout_ms=_FETCH_WAIT_MS * 4, max_records=_BATCH_RECORDS))
        positions = {each: await self._ask(consumer.position(each)) for each in begins}
        return records, positions

    async def close(self) -> None:
        """Disconnect, whatever state the brokers are in."""
        clients = [client for client in (self._admin, self._consumer) if client is not None]
        self._admin = self._consumer = None
        await asyncio.gather(*map(self._end, clients))

    async def _admins(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = AIOKafkaAdminClient(
                bootstrap_servers=self._bootstrap.split(","), client_id=self._client_id
            )
            await self._start(admin)
            self._admin = admin
        return self._admin

    async def _reader(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap.split(","),
                client_id=self._client_id,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",  # records expire while they are read
                fetch_max_bytes=_FETCH_BYTES,
                max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            await self._start(consumer)
            self._consumer = consumer
        return self._consumer

    async def _start(self, client: Client) -> None:
        await self._ask(start_client(client, timeout_s=self._timeout_s))

    async def _end(self, client: Client) -> None:
        if (fault := await stop_client(client, timeout_s=self._timeout_s)) is not None:
            log.info("questions.close_failed", client=self._client_id, error=fault)

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(question, self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            await self.close()  # what is still under way on it is of no use
            raise KafkaUnavailable(f"Kafka at {self._bootstrap} does not answer: {fault!r}") from fault

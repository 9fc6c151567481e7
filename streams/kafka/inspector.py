"""Reads offsets, consumer groups and records from Kafka without joining a group. Every call has a timeout."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping
from typing import Any, Final, Self, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from streams.errors import KafkaUnavailable
from streams.kafka.clients import Client, start_client, stop_client

log = structlog.get_logger(__name__)

T = TypeVar("T")
Offsets = dict[TopicPartition, int]

#: How long a broker holds a fetch that finds nothing. Other calls wait behind it.
_FETCH_WAIT_MS: Final = 25
_POLL_MS: Final = 200
#: The size of a fetch, in all and of one partition; a larger record still comes alone.
_FETCH_BYTES: Final = 8 * 1024 * 1024
_PARTITION_FETCH_BYTES: Final = 1024 * 1024
_BATCH_RECORDS: Final = 2_000


class KafkaInspector:
    """A connection that is opened at its first call, and anew after a fault.

    Every method raises `KafkaUnavailable` where no broker answers in time. Used by one task at a time.

        async with KafkaInspector("127.0.0.1:9092", client_id="me", timeout_s=15) as kafka:
            partitions = await kafka.partitions(["llm.logs.v1"])
            begins, ends = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
            async for record in kafka.read_between(begins, ends): ...

    `timeout_s` bounds one call, and how long reading may go without progress. `committed_only` leaves out the
    records of transactions that are not committed.
    """

    def __init__(
        self, bootstrap: str, *, client_id: str, timeout_s: float, committed_only: bool = False
    ) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._isolation = "read_committed" if committed_only else "read_uncommitted"
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: Offsets = {}

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._admins()
        await self._reader()
        return self

    async def __aexit__(self, *fault: object) -> None:
        """Disconnect."""
        await self.close()

    async def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Return the partitions of those topics that exist."""
        wanted = set(topics)
        described: list[dict[str, Any]] = await self._within((await self._admins()).describe_topics())
        return [
            TopicPartition(each["topic"], partition["partition"])
            for each in described
            if each["topic"] in wanted and each["error_code"] == 0
            for partition in each["partitions"]
        ]

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> Offsets:
        """Return the first offset of each partition that is still kept."""
        found: Offsets = await self._within((await self._reader()).beginning_offsets(partitions))
        return found

    async def end_offsets(self, partitions: list[TopicPartition]) -> Offsets:
        """Return the offset after the last record of each partition."""
        found: Offsets = await self._within((await self._reader()).end_offsets(partitions))
        return found

    async def offsets_for_time(self, partitions: list[TopicPartition], at_ms: int) -> Offsets:
        """Return the first record of a time (Unix ms) or later; partitions without one are left out."""
        if not partitions:
            return {}
        asked = dict.fromkeys(partitions, max(at_ms, 0))
        found = await self._within((await self._reader()).offsets_for_times(asked))
        return {each: at.offset for each, at in found.items() if at is not None}

    async def commits(
        self, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what a group has committed, with its metadata; offset -1 where it has committed nothing."""
        if not partitions:
            return {}
        asking = (await self._admins()).list_consumer_group_offsets(group, partitions=partitions)
        found: dict[TopicPartition, OffsetAndMetadata] = await self._within(asking)
        check_answered(group, partitions, found)
        return found

    async def committed_offsets(self, group: str, partitions: list[TopicPartition]) -> Offsets:
        """Return what a group has committed; partitions of which it has committed nothing are left out."""
        found = await self.commits(group, partitions)
        return {each: commit.offset for each, commit in found.items() if commit.offset >= 0}

    async def groups(self) -> list[str]:
        """Return the names of all consumer groups."""
        return [name for name, *_ in await self._within((await self._admins()).list_consumer_groups())]

    async def group_size(self, group: str) -> int:
        """Return how many members a group has; 0 where there is no such group."""
        # One at a time: aiokafka 0.14 reads version 3 of the answer as version 2, wrong from the second on.
        answers = await self._within((await self._admins()).describe_consumer_groups([group]))
        return sum(len(each["members"]) for answer in answers for each in answer.to_object()["groups"])

    async def read(self, begins: Offsets) -> tuple[dict[TopicPartition, list[ConsumerRecord]], Offsets]:
        """Return some records from these offsets on, and the offsets up to which they go.

        By position, not by the last record: deletion, compaction and transaction markers leave gaps.
        """
        consumer = await self._reader()
        assigned = consumer.assignment()
        if assigned >= set(begins):
            consumer.pause(*assigned - set(begins))
            consumer.resume(*begins)
        else:
            consumer.assign(list(begins))
            self._positions = {}
        for partition, offset in begins.items():
            if self._positions.get(partition) != offset:  # a seek drops what was fetched ahead
                consumer.seek(partition, offset)
        self._positions = {}  # unknown, should this call be given up
        records = await self._within(consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_RECORDS))
        self._positions = {each: await self._within(consumer.position(each)) for each in begins}
        return records, dict(self._positions)

    async def read_between(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[ConsumerRecord, None]:
        """Yield the records from `begins` up to but without `ends`, each partition's in order."""
        left = {each: at for each, at in begins.items() if at < ends[each]}
        moved_at = time.monotonic()
        while left:
            batches, positions = await self.read(left)
            for partition, records in batches.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield record
            if positions != left:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > self._timeout_s:
                names = ", ".join(f"{each.topic}:{each.partition}" for each in left)
                raise KafkaUnavailable(f"Kafka at {self._bootstrap} sends nothing of {names} any more")
            left = {each: at for each, at in positions.items() if at < ends[each]}
        if self._consumer is not None:  # it would go on fetching, and the next call would wait behind that
            self._consumer.pause(*self._consumer.assignment())

    async def close(self) -> None:
        """Disconnect, whatever state the brokers are in."""
        clients = [client for client in (self._admin, self._consumer) if client is not None]
        self._admin = self._consumer = None
        self._positions = {}
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
                isolation_level=self._isolation,
                fetch_max_bytes=_FETCH_BYTES,
                max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
                retry_backoff_ms=20,  # a topic whose leader is not known yet is asked for once more
            )
            await self._start(consumer)
            self._consumer = consumer
        return self._consumer

    async def _start(self, client: Client) -> None:
        await self._within(start_client(client, timeout_s=self._timeout_s))

    async def _end(self, client: Client) -> None:
        if (fault := await stop_client(client, timeout_s=self._timeout_s)) is not None:
            log.info("kafka.stop_failed", client_id=self._client_id, error=fault)

    async def _within(self, call: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(call, self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            await self.close()  # what is still under way on it is of no use
            raise KafkaUnavailable(f"Kafka at {self._bootstrap} does not answer: {fault!r}") from fault


def check_answered(
    group: str, partitions: Iterable[TopicPartition], found: Mapping[TopicPartition, object]
) -> None:
    """Check that a broker has answered for every partition; `KafkaUnavailable` if not.

    A partition without a commit is answered with -1. A broker that does not know the commits, because it is
    loading them or another broker has them, answers with an error and no partitions, and aiokafka 0.14 looks
    for errors at the partitions only. Taken for an answer it would say that nothing was ever committed.
    """
    if set(partitions) - set(found):
        raise KafkaUnavailable(f"the broker does not know yet what {group} has committed")

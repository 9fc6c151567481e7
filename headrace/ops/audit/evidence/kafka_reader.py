"""Reads whole stretches of topics, from a time to their ends, without joining any consumer group."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.errors import KafkaUnavailable
from streams.kafka.clients import stop_client

_POLL_RECORDS = 2_000
_POLL_MS = 500
_FETCH_BYTES_PER_PARTITION = 1024 * 1024  # what waits in memory: this, for each partition that is read

T = TypeVar("T")


class Stretch(msgspec.Struct, kw_only=True):
    """What has been read of a partition.

    Attributes:
        next_offset: the first offset that was not read yet.
        truncated: whether older records of the time asked for may have been deleted.
        first_ms: when the first record that was read was written, Unix ms.
        last_ms: the same of the last one.
        records: how many were read.
    """

    next_offset: int
    truncated: bool = False
    first_ms: int | None = None
    last_ms: int | None = None
    records: int = 0


class KafkaReader:
    """Reads topics and the offsets of consumer groups.

    Every method raises `KafkaUnavailable` where no broker answers in time.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        timeout_s: how long one question, or the wait for the next records, may take.
    """

    def __init__(self, bootstrap: str, *, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s
        servers = bootstrap.split(",")
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers, client_id="headrace-audit")
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            client_id="headrace-audit",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES_PER_PARTITION,
            fetch_max_wait_ms=100,
            retry_backoff_ms=20,  # a topic whose leader is not known yet is asked for once more
        )
        self._partitions: dict[str, tuple[int, ...]] = {}
        self.stretches: dict[TopicPartition, Stretch] = {}

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            await self._ask(self._admin.start())
            await self._ask(self._consumer.start())
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self.stop()

    async def stop(self) -> None:
        """Disconnect, whatever state the brokers are in."""
        await asyncio.gather(
            *(stop_client(client, timeout_s=self._timeout_s) for client in (self._admin, self._consumer))
        )

    async def refresh_topics(self) -> None:
        """Ask anew which topics there are."""
        described: list[dict[str, Any]] = await self._ask(self._admin.describe_topics())
        self._partitions = {
            topic["topic"]: tuple(sorted(each["partition"] for each in topic["partitions"]))
            for topic in described
            if topic["error_code"] == 0
        }

    def has(self, topic: str) -> bool:
        """Whether the topic was there when the topics were last asked for."""
        return topic in self._partitions

    async def ends(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the ends of the topics; those that do not exist are left out."""
        places = [place for topic in topics for place in self._places(topic)]
        found: dict[TopicPartition, int] = await self._ask(self._consumer.end_offsets(places))
        return found

    async def begins(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the first offsets that are still kept; topics that do not exist are left out."""
        places = [place for topic in topics for place in self._places(topic)]
        found: dict[TopicPartition, int] = await self._ask(self._consumer.beginning_offsets(places))
        return found

    async def committed(self, prefix: str) -> dict[str, dict[TopicPartition, int]]:
        """Return the committed offsets of every consumer group whose name begins with `prefix`."""
        groups = await self._ask(self._admin.list_consumer_groups())
        return {
            name: {
                place: commit.offset
                for place, commit in (await self._ask(self._admin.list_consumer_group_offsets(name))).items()
                if commit.offset >= 0
            }
            for name, *_ in groups
            if name.startswith(prefix)
        }

    async def read(
        self,
        topics: Iterable[str],
        take: Callable[[ConsumerRecord], None],
        *,
        since_ms: int,
        until_ms: int | None = None,
    ) -> None:
        """Hand every record of the topics to `take`, from where the last read of them ended.

        The first read of a topic begins at the first record written at or after `since_ms`. It ends where
        the topic ended when it was begun, or before the first record written at or after `until_ms`.
        """
        topics = tuple(topics)
        ends = await self.ends(topics)
        await self._open([place for place in ends if place not in self.stretches], since_ms, ends)
        if until_ms is not None:
            ends = await self._before(until_ms, ends)
        waiting = {place: end for place, end in ends.items() if self.stretches[place].next_offset < end}
        await self._drain(waiting, take)

    async def times_at(self, offsets: Mapping[TopicPartition, int]) -> list[int]:
        """Return when the records at (or next after) these offsets were written, Unix ms."""
        if not offsets:
            return []
        self._seek(offsets)
        found: dict[TopicPartition, int] = {}
        heard_at = self._now()
        while len(found) < len(offsets):
            for place, records in (await self._poll()).items():
                found.setdefault(place, records[0].timestamp)
                self._consumer.pause(place)
                heard_at = self._now()
            self._check_silence(heard_at)
        return list(found.values())

    async def _open(
        self, places: list[TopicPartition], since_ms: int, ends: Mapping[TopicPartition, int]
    ) -> None:
        if not places:
            return
        starts = await self._ask(self._consumer.offsets_for_times(dict.fromkeys(places, since_ms)))
        begins = await self._ask(self._consumer.beginning_offsets(places))
        for place in places:
            start = starts[place].offset if starts.get(place) else ends[place]
            self.stretches[place] = Stretch(
                next_offset=start, truncated=0 < begins[place] == start < ends[place]
            )

    async def _before(self, until_ms: int, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        found = await self._ask(self._consumer.offsets_for_times(dict.fromkeys(ends, until_ms)))
        return {
            place: min(end, found[place].offset) if found.get(place) else end for place, end in ends.items()
        }

    async def _drain(self, ends: dict[TopicPartition, int], take: Callable[[ConsumerRecord], None]) -> None:
        if not ends:
            return
        self._seek({place: self.stretches[place].next_offset for place in ends})
        waiting, heard_at = dict(ends), self._now()
        while waiting:
            batches = await self._poll()
            for place, records in batches.items():
                if place in waiting:
                    self._take(self.stretches[place], waiting[place], records, take)
            for place, end in tuple(waiting.items()):
                # A position moves over what is no record, too: a transaction's markers, compacted gaps.
                if await self._ask(self._consumer.position(place)) >= end:
                    self.stretches[place].next_offset = end
                    self._consumer.pause(place)
                    del waiting[place]
                    heard_at = self._now()
            heard_at = self._now() if batches else heard_at
            self._check_silence(heard_at)

    @staticmethod
    def _take(
        stretch: Stretch, end: int, records: Iterable[ConsumerRecord], take: Callable[[ConsumerRecord], None]
    ) -> None:
        for record in records:
            if record.offset >= end:
                return
            if stretch.first_ms is None:
                stretch.first_ms = record.timestamp
            stretch.last_ms = max(stretch.last_ms or 0, record.timestamp)
            stretch.records += 1
            take(record)

    def _seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._consumer.assign(list(offsets))
        for place, offset in offsets.items():
            self._consumer.seek(place, offset)

    async def _poll(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        found: dict[TopicPartition, list[ConsumerRecord]] = await self._ask(
            self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        )
        return found

    def _check_silence(self, heard_at: float) -> None:
        """Raise where records do not come: in an outage aiokafka's polls just stay empty."""
        if self._now() - heard_at > self._timeout_s:
            raise KafkaUnavailable(
                f"Kafka at {self._bootstrap}: no records within {self._timeout_s:g} s, though there are some"
            )

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in self._partitions.get(topic, ())]

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(question, self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"Kafka at {self._bootstrap}: {fault!r}") from fault

"""Reads deltas from Kafka again that this replica has not seen, for clients that resume a stream.

A client may resume after a restart of ingest, or at another replica. Then the first deltas of its request
were written before this process started to read, or to a partition that this replica does not read. One
consumer serves all such clients. A *replay* reads one partition from the time at which its oldest wanted
request was registered. Requests that are wanted during a replay wait for the next one, so a thousand clients
that resume at once cost one replay.

This replica's own partitions are replayed up to the position of the reply consumer, which reads the rest. A
partition of another replica is read for as long as a client listens. If the replay fails, no client notices:
the reply has the whole answer.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from ingest.follow.reply_consumer import ReplyConsumer, dispatch
from ingest.follow.reply_hub import ReplyHub
from streams.events import ReplyAddress
from streams.kafka.groupless_consumer import GrouplessConsumer
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.registry.registry import RequestState
from streams.tasks import cancel_and_wait, event_within
from streams.topics import DELTAS, REPLIES

log = structlog.get_logger(__name__)

_POLL_MS = 100
_MAX_RECORDS = 500
#: Clients that come back after a crash come together: a replay waits this long for the others, in seconds.
_GATHER_S = 0.02
#: How long the consumer stays connected without a wanted request, in seconds.
_IDLE_S = 30.0
#: How far the clocks of those who register requests and those who write deltas may differ, in seconds.
_CLOCK_MARGIN_S = 10.0


class _WantedRequest(msgspec.Struct):
    """A request whose deltas are read."""

    request_id: str
    partition: int
    since_ms: int
    followers: int = 0
    next_offset: int | None = None  # the first not read yet; None before its replay begins


class _Replay(msgspec.Struct):
    """How far a partition is read, and where it ended when the replay began."""

    position: int
    target: int
    seek: bool = True  # the consumer must move


@dataclass(eq=False)
class DeltaHistory:
    """Reads deltas again for those who ask. It is the only user of `kafka`."""

    kafka: GrouplessConsumer
    hub: ReplyHub
    live: ReplyConsumer
    lookback_s: float  # the longest time of a streamed answer: older deltas are of no use
    auth: RecordAuth = UNSIGNED
    _wanted: dict[str, _WantedRequest] = field(default_factory=dict, init=False)
    _replays: dict[int, _Replay] = field(default_factory=dict, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @contextmanager
    def following(self, request_id: str, state: RequestState, *, complete: bool) -> Iterator[None]:
        """Have the hub hear a request's deltas, from the first one on, for as long as the context lasts.

        The hub must track the request. `complete` says that the reply consumer has heard all that was written
        to its own partitions.
        """
        partition = None
        if state.reply_to:
            partition = deltas_partition(state.reply_to, request_id, self.live.delta_partitions)
        if partition is None or (complete and self.live.position(partition) is not None):
            yield
            return
        wanted = self._want(request_id, partition, state.registered_at.timestamp())
        try:
            yield
        finally:
            wanted.followers -= 1
            if wanted.followers == 0 and self._wanted.get(request_id) is wanted:
                del self._wanted[request_id]

    async def close(self) -> None:
        """Stop reading, and disconnect."""
        await cancel_and_wait(self._task)

    def _want(self, request_id: str, partition: int, since_s: float) -> _WantedRequest:
        wanted = self._wanted.get(request_id)
        if wanted is None:
            oldest = time.time() - self.lookback_s
            since_ms = int((max(since_s, oldest) - _CLOCK_MARGIN_S) * 1000)
            wanted = self._wanted[request_id] = _WantedRequest(request_id, partition, since_ms)
        wanted.followers += 1
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.kafka.read_with(self._poll), name="delta-history")
        return wanted

    async def _poll(self) -> bool:
        if not self._wanted:
            self._replays.clear()
            self._wake.clear()
            await event_within(self._wake, _IDLE_S)
        if not self._wanted:
            return False
        async with asyncio.timeout(self.kafka.timeout_s):
            consumer = await self.kafka.connect()
            await self._begin_replays(consumer)
        self._assign(consumer)
        if self._replays:
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            for partition, records in batches.items():
                self._read(partition.partition, records)
        self._let_go()
        await asyncio.sleep(0)
        return True

    async def _begin_replays(self, consumer: AIOKafkaConsumer) -> None:
        """Begin a replay of each partition with a newly wanted request, once the replay before has ended."""
        if not self._fresh():
            return
        await asyncio.sleep(_GATHER_S)
        fresh = self._fresh()
        since = {_topic(p): min(each.since_ms for each in wanted) for p, wanted in fresh.items()}
        # The ends first: what is written in between is then not taken for old.
        ends = await consumer.end_offsets(list(since))
        found = await consumer.offsets_for_times(since)
        for partition, wanted in fresh.items():
            end, first = ends[_topic(partition)], found.get(_topic(partition))
            begin = first.offset if first is not None else end
            for each in wanted:
                each.next_offset = begin
            before = self._replays.get(partition)
            if before is None or begin < before.position:
                self._replays[partition] = _Replay(begin, end)
            log.debug("history.replay", partition=partition, requests=len(wanted), records=end - begin)

    def _fresh(self) -> dict[int, list[_WantedRequest]]:
        fresh: dict[int, list[_WantedRequest]] = defaultdict(list)
        for wanted in self._wanted.values():
            replay = self._replays.get(wanted.partition)
            at_end = replay is None or replay.position >= replay.target
            if wanted.next_offset is None and at_end:
                fresh[wanted.partition].append(wanted)
        return fresh

    def _assign(self, consumer: AIOKafkaConsumer) -> None:
        assigned = {_topic(partition) for partition in self._replays}
        again = bool(assigned) and assigned != consumer.assignment()
        if again:
            consumer.assign(assigned)
        for partition, replay in self._replays.items():
            if again or replay.seek:
                consumer.seek(_topic(partition), replay.position)
                replay.seek = False

    def _read(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        self._replays[partition].position = records[-1].offset + 1
        for record in records:
            wanted = self._wanted.get((record.key or b"").decode("utf-8", "replace"))
            if wanted is None or wanted.next_offset is None or record.offset < wanted.next_offset:
                continue
            wanted.next_offset = record.offset + 1
            dispatch(record, self.hub, self.auth)

    def _let_go(self) -> None:
        for wanted in list(self._wanted.values()):
            live = self.live.position(wanted.partition)
            replay = self._replays.get(wanted.partition)
            if live is None or replay is None or wanted.next_offset is None:
                continue
            if replay.position >= live:
                del self._wanted[wanted.request_id]
                self.hub.mark_complete(wanted.request_id)
        read = {wanted.partition for wanted in self._wanted.values() if wanted.next_offset is not None}
        for partition in set(self._replays) - read:
            del self._replays[partition]


def deltas_partition(reply_to: ReplyAddress, request_id: str, partitions: int) -> int | None:
    """Return the partition that a request's deltas are written to; None if there is none.

    `agents.llm.deltas` chooses it: the reply's partition on our reply topic, otherwise that of the key.
    """
    if reply_to.topic == REPLIES.name and reply_to.partition is not None:
        return reply_to.partition if 0 <= reply_to.partition < partitions else None
    return int(DefaultPartitioner()(request_id.encode(), list(range(partitions)), []))


def _topic(partition: int) -> TopicPartition:
    return TopicPartition(DELTAS.name, partition)

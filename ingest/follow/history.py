"""Deltas that this process has not seen: read again, or read along, for those who follow.

A client that comes back after a restart, or to another replica, follows a request whose first deltas were
written before this process read, or to a partition that it does not read. One consumer serves all of them:
whoever asks while it reads is served by its next pass over that partition, so a thousand clients that come
back at once cost one pass. It starts at the time at which the oldest of their requests was registered.

Where a partition is this replica's own, a request is let go as soon as this reader has come up with the reply
consumer, which hears of the rest. Another replica's partition is read for as long as somebody listens. Where
anything fails, nobody hears of it: the reply brings the whole answer.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from ingest.follow.kafka_reading import FAULTS, backoff_s, close_consumer, end_task, open_consumer
from ingest.follow.replies import ReplyHub
from ingest.follow.reply_consumer import dispatch
from streams.events import ReplyAddress
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.topics import DELTAS, REPLIES

log = structlog.get_logger(__name__)

_POLL_MS = 100
_MAX_RECORDS = 500
#: Clients that come back after a crash come at once: so long is waited for the others.
_GATHER_S = 0.02
_IDLE_S = 30.0
#: How far the clocks of those who register requests and those who write deltas may be apart.
_CLOCK_MARGIN_S = 10.0


class _Wanted(msgspec.Struct):
    """A request whose deltas are read. `next_offset`: the first that it has not got; None before its pass."""

    request_id: str
    partition: int
    since_ms: int
    followers: int = 0
    next_offset: int | None = None


class _Pass(msgspec.Struct):
    """How far a partition is read, and where its end was when this pass began. `seek`: it has to go there."""

    position: int
    target: int
    seek: bool = True


class DeltaHistory:
    """Reads deltas again for those who ask.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        hub: what the deltas are handed to.
        partitions: how many the topic has.
        live_position: returns the offset up to which the reply consumer has read a partition of the deltas;
            None where it does not read it.
        lookback_s: how old a delta that is still of use may be: the longest time a streamed answer may take.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: what one of the broker's answers may take, in seconds.
        auth: tells which deltas Headrace wrote; others reach nobody.
        clock: returns Unix time in seconds.
    """

    def __init__(
        self,
        bootstrap: str,
        hub: ReplyHub,
        *,
        partitions: int,
        live_position: Callable[[int], int | None],
        lookback_s: float,
        client_id: str,
        timeout_s: float,
        auth: RecordAuth = UNSIGNED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._auth = auth
        self._bootstrap = bootstrap
        self._hub = hub
        self._partitions = partitions
        self._live_position = live_position
        self._lookback_s = lookback_s
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._clock = clock
        self._wanted: dict[str, _Wanted] = {}
        self._passes: dict[int, _Pass] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @contextmanager
    def following(
        self, request_id: str, reply_to: ReplyAddress | None, *, since: datetime, whole: bool
    ) -> Iterator[None]:
        """Have the hub hear of a request's deltas, from the first one on, for as long as somebody listens.

        Args:
            request_id: the request; the hub must keep its deltas.
            reply_to: where its reply goes; None where that is not known, and so neither where its deltas are.
            since: when it was registered: before that nothing was written for it.
            whole: the reply consumer has heard of all that was written to its own partitions.
        """
        partition = deltas_partition(reply_to, request_id, self._partitions) if reply_to else None
        own = partition is not None and self._live_position(partition) is not None
        if partition is None or (own and whole):
            yield
            return
        wanted = self._want(request_id, partition, since)
        try:
            yield
        finally:
            self._release(wanted)

    async def close(self) -> None:
        """Stop reading, and disconnect."""
        await end_task(self._task)

    def _want(self, request_id: str, partition: int, since: datetime) -> _Wanted:
        wanted = self._wanted.get(request_id)
        if wanted is None:
            oldest = self._clock() - self._lookback_s
            since_ms = int((max(since.timestamp(), oldest) - _CLOCK_MARGIN_S) * 1000)
            wanted = self._wanted[request_id] = _Wanted(request_id, partition, since_ms)
        wanted.followers += 1
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="delta-history")
        return wanted

    def _release(self, wanted: _Wanted) -> None:
        wanted.followers -= 1
        if wanted.followers == 0 and self._wanted.get(wanted.request_id) is wanted:
            del self._wanted[wanted.request_id]

    async def _run(self) -> None:
        failures = 0
        try:
            while await self._is_needed():
                try:
                    await self._turn()
                    failures = 0
                except FAULTS as fault:
                    log.warning("history.broker_fault", error=repr(fault))
                    failures += 1
                    await self._disconnect()
                except Exception:  # a record that breaks the loop must not cost the others their text
                    log.exception("history.fault")
                    failures += 1
                    await self._disconnect()
                await asyncio.sleep(backoff_s(failures))
        finally:
            await self._disconnect()

    async def _is_needed(self) -> bool:
        """Wait for somebody to follow; False where nobody came for a while."""
        if not self._wanted:
            self._wake.clear()
            try:
                async with asyncio.timeout(_IDLE_S):
                    await self._wake.wait()
            except TimeoutError:
                return bool(self._wanted)
        return True

    async def _turn(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            if self._consumer is None:
                self._consumer = await open_consumer(
                    self._bootstrap, client_id=self._client_id, timeout_s=self._timeout_s
                )
            await self._begin_passes(self._consumer)
        self._go_to(self._consumer)
        if self._passes:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            for partition, records in batches.items():
                self._read(partition.partition, records)
        self._let_go()

    async def _begin_passes(self, consumer: AIOKafkaConsumer) -> None:
        """Begin a pass where somebody waits for one, and the one before has come to its end."""
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
            before = self._passes.get(partition)
            if before is None or begin < before.position:
                self._passes[partition] = _Pass(begin, end)
            log.debug("history.pass", partition=partition, requests=len(wanted), records=end - begin)

    def _fresh(self) -> dict[int, list[_Wanted]]:
        fresh: dict[int, list[_Wanted]] = defaultdict(list)
        for wanted in self._wanted.values():
            under_way = self._passes.get(wanted.partition)
            at_end = under_way is None or under_way.position >= under_way.target
            if wanted.next_offset is None and at_end:
                fresh[wanted.partition].append(wanted)
        return fresh

    def _go_to(self, consumer: AIOKafkaConsumer) -> None:
        assigned = {_topic(partition) for partition in self._passes}
        again = bool(assigned) and assigned != consumer.assignment()
        if again:
            consumer.assign(assigned)
        for partition, under_way in self._passes.items():
            if again or under_way.seek:
                consumer.seek(_topic(partition), under_way.position)
                under_way.seek = False

    def _read(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        self._passes[partition].position = records[-1].offset + 1
        for record in records:
            wanted = self._wanted.get((record.key or b"").decode("utf-8", "replace"))
            if wanted is None or wanted.next_offset is None or record.offset < wanted.next_offset:
                continue
            wanted.next_offset = record.offset + 1
            dispatch(record, self._hub, self._auth)

    def _let_go(self) -> None:
        for wanted in list(self._wanted.values()):
            live = self._live_position(wanted.partition)
            under_way = self._passes.get(wanted.partition)
            if live is None or under_way is None or wanted.next_offset is None:
                continue
            if under_way.position >= live:
                del self._wanted[wanted.request_id]
                self._hub.mark_whole(wanted.request_id)
        read = {wanted.partition for wanted in self._wanted.values() if wanted.next_offset is not None}
        for partition in set(self._passes) - read:
            del self._passes[partition]

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await close_consumer(consumer, timeout_s=self._timeout_s)


def deltas_partition(reply_to: ReplyAddress, request_id: str, partitions: int) -> int | None:
    """Return the partition that a request's deltas are written to; None where there is none.

    As `agents.llm.deltas` chooses it: the reply's where that is on our reply topic, otherwise by the key.
    """
    if reply_to.topic == REPLIES.name and reply_to.partition is not None:
        return reply_to.partition if 0 <= reply_to.partition < partitions else None
    return int(DefaultPartitioner()(request_id.encode(), list(range(partitions)), []))


def _topic(partition: int) -> TopicPartition:
    return TopicPartition(DELTAS.name, partition)

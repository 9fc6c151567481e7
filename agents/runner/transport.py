"""A Faust transport that never commits past an event that is still in flight.

Faust 0.15.3 derives the offset to commit from the *acked* events. As soon as an agent has more than one event
in flight that is wrong (bugs A to D in docs/decisions/0001-safe-consumer.md): the commit of a fast event
passes a slow one, and a crash loses the slow one. This consumer remembers the *delivered* events instead, and
commits up to the lowest delivered offset that is not acked yet.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, ClassVar

import msgspec
import structlog
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import Consumer as StockConsumer
from faust.transport.drivers.aiokafka import Transport as StockTransport
from faust.types import TP, Message

from agents.runner.consumer_thread import ConsumerThread, ReadPosition, faust_log

SCHEME = "headrace"

log = structlog.get_logger(__name__)


class PartitionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a consumer is with one partition, as it knows without asking the broker.

    Attributes:
        topic: the topic.
        partition: its number.
        committed: the committed offset; None where nothing was committed yet.
        committable: the offset that the next commit will commit; None where there is none yet.
        position: the offset of the next record that will be handed to Faust.
        highwater: the partition's end, as of the last answer to a fetch.
        in_hand: how many records were delivered and are not acknowledged.
        fetched_at_ms: when the last answer to a fetch came.
    """

    topic: str
    partition: int
    committed: int | None
    committable: int | None
    position: int | None
    highwater: int | None
    in_hand: int
    fetched_at_ms: int | None

    @property
    def lag(self) -> int:
        """How many records are not committed yet; what is not known counts as none."""
        begin = self.committed if self.committed is not None else self.position
        return max(0, self.highwater - begin) if self.highwater is not None and begin is not None else 0


class SafeConsumer(StockConsumer):
    """A consumer whose commits are a watermark below everything in flight."""

    logger = faust_log

    #: How long a stop waits for events in flight, in seconds; Faust waits for ever.
    drain_timeout_s: ClassVar[float] = 40.0
    #: The same for a revoke, during which nobody in the group is served. Events that stay in flight are
    #: delivered again, to the member that has their partition then.
    revoke_drain_s: ClassVar[float] = 0.75

    #: Called when a drain begins: fetching has stopped, and the rebalance or the stop waits for us.
    on_drain: Callable[[], None] | None = None

    #: How often Faust's loop has asked for records: about every second, whether there are any or not.
    polls: int = 0

    _delivered: MutableMapping[TP, deque[int]]
    _watermark: MutableMapping[TP, int]

    def __init__(self, transport: Any, callback: Any, *args: Any, **kwargs: Any) -> None:
        self._delivered = defaultdict(deque)
        self._watermark = {}
        self._place: ReadPosition | None = None
        self._open, self._sought = asyncio.Event(), False
        super().__init__(transport, callback, *args, **kwargs)
        self._read_offset = _NothingRead()
        self._pass_on = self.callback
        self.callback = self._deliver

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109  # Faust's
        """Yield the next records; none between a revoke and the seek that follows the assignment.

        Faust drops its fetched batch when a rebalance begins, and relies on a seek to bring it back. Here the
        batch waits. It is dropped only where the consumer has been set back to an offset before it.
        """
        fetched: Any = (await self._wait_next_records(timeout))[0]
        if not fetched:
            return
        for tp, record in self.scheduler.iterate(fetched):
            if not self._open.is_set():
                await self.wait_first(self._open.wait())
            if self.should_stop or not self._follows_on(fetched.place):
                return
            yield tp, self._to_message(tp, record)

    def _follows_on(self, place: ReadPosition) -> bool:
        """Whether records from `place` come next. The first ones of a new place restart the tracking."""
        thread: Any = self._thread
        if not thread.place.is_same(place):
            return False
        if not place.is_same(self._place):
            self._delivered.clear()
            self._place = place
        return True

    def resume_flow(self) -> None:
        """Go on, but not before the seek to the committed offsets: Faust calls this too early as well."""
        super().resume_flow()
        if self._sought:
            self._open.set()

    def _shut(self) -> None:
        """Deliver and track nothing until the seek to the committed offsets."""
        self._sought = False
        self._open.clear()
        self._place = None

    async def _deliver(self, message: Message) -> None:
        if self.app.topics.acks_enabled_for(message.topic):
            delivered = self._delivered[message.tp]
            # A record from before a revoke will be delivered again: it must not be tracked now.
            if self._place is not None and (not delivered or message.offset > delivered[-1]):
                delivered.append(message.offset)
        await self._pass_on(message)

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset after the last delivered one below which everything is acked."""
        delivered, acked = self._delivered[tp], self._acked_index[tp]
        committed = self._committed_offset[tp]
        done = None
        while delivered and (delivered[0] in acked or (committed is not None and delivered[0] < committed)):
            done = delivered.popleft()
            acked.discard(done)
        if done is not None:
            self._watermark[tp] = max(done + 1, self._watermark.get(tp, 0))
            self._forget_below(tp, self._watermark[tp])
        return self._watermark.get(tp)

    def partition_progress(self) -> tuple[PartitionProgress, ...]:
        """Return how far each assigned partition is. Asks nobody."""
        thread: Any = self._thread
        consumer = thread and thread._consumer  # noqa: SLF001  # Faust keeps it to itself
        subscription = consumer and consumer._subscription.subscription  # noqa: SLF001  # so does aiokafka
        assignment = subscription and subscription.assignment
        return tuple(self._partition_progress(tp, assignment) for tp in assignment.tps) if assignment else ()

    def _partition_progress(self, at: Any, assignment: Any) -> PartitionProgress:
        tp = TP(at.topic, at.partition)
        state = assignment.state_value(at)
        delivered, acked = self._delivered.get(tp, ()), self._acked_index.get(tp, ())
        done = self._watermark.get(tp)
        for offset in delivered:
            if offset not in acked:
                break
            done = offset + 1
        return PartitionProgress(
            topic=tp.topic,
            partition=tp.partition,
            committed=self._committed_offset.get(tp),
            committable=done,
            position=state and state._position,  # noqa: SLF001  # `position` asserts that it is known
            highwater=state and state.highwater,
            in_hand=max(0, len(delivered) - len(acked)),
            fetched_at_ms=state and state.timestamp,
        )

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's signature
        self.polls += 1
        return await super()._wait_next_records(timeout)

    def hand_back(self, message: Message) -> None:
        """Let go of a record that is not done. It will be delivered again, so no drain waits for it."""
        self._unacked_messages.discard(message)
        waiting = self._waiting_for_ack
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _forget_below(self, tp: TP, offset: int) -> None:
        """Drop acks that a commit already covers: copies of events that were delivered twice."""
        acked = self._acked[tp]
        acked[:] = [each for each in acked if each >= offset]
        self._acked_index[tp].intersection_update(acked)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ignore gaps in the offsets: a record that was never delivered is not in flight."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drain and commit what is in flight, and only then forget the partitions."""
        self._shut()
        self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)
        await self._on_partitions_revoked(revoked)
        for tp in revoked:
            self._forget(tp)

    def _forget(self, tp: TP) -> None:
        tracked: tuple[MutableMapping[TP, Any], ...] = (
            self._gap,
            self._acked,
            self._acked_index,
            self._read_offset,
            self._committed_offset,
            self._delivered,
            self._watermark,
        )
        for mapping in tracked:
            mapping.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begin with new partitions."""
        self._shut()
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Go back to what is committed: everything after it will be delivered again."""
        await super().perform_seek()
        self._sought = True

    async def seek(self, partition: TP, offset: int) -> None:
        """Go to `offset`: what was delivered of this partition may be delivered again."""
        self._delivered.pop(partition, None)
        await super().seek(partition, offset)

    async def wait_empty(self) -> None:
        """Wait for events in flight, within the drain time-out. The others are delivered again elsewhere.

        Faust's own loop swallows a cancellation, so that no timeout around it would end it.
        """
        stopping = self.app.should_stop or self.should_stop
        deadline = time.monotonic() + (self.drain_timeout_s if stopping else self.revoke_drain_s)
        if self.on_drain is not None:
            self.on_drain()
        while not self.should_stop and self._unacked_messages:
            await self.commit()
            if not self._unacked_messages:
                break
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                log.warning("consumer.drain_timed_out", in_flight=len(self._unacked_messages))
                break
            await self._wait_for_ack(timeout=min(1.0, left_s))
            self._clean_unacked_messages()
        await self.commit_and_end_transactions()

    async def _wait_for_ack(self, timeout: float) -> None:  # noqa: ASYNC109  # Faust's
        """Wait until an event is acknowledged; Faust's own waits a second, whatever it is told."""
        self._waiting_for_ack = acknowledged = self.loop.create_future()
        try:
            await asyncio.wait((acknowledged,), timeout=timeout)
        finally:
            self._waiting_for_ack = None


class _NothingRead(defaultdict[TP, int | None]):
    """Faust's offsets read so far, kept empty: it would drop records that come again after a seek."""

    def __getitem__(self, tp: TP) -> int | None:
        return None


class Transport(StockTransport):
    """The transport behind `headrace://` broker addresses."""

    Consumer = SafeConsumer


def register() -> None:
    """Make Faust know the `headrace://` scheme."""
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:{Transport.__name__}"

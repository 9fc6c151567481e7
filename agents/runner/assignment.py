"""What a member of a consumer group has of its topic between two rebalances, and what it may commit of it.

A record's offset may be committed once it and all earlier ones of its partition are done:

    offsets = PartitionOffsets()
    for offset in (10, 11, 15):  # compaction leaves holes
        offsets.deliver(offset)
    offsets.done(11)
    offsets.committable  # None: 10 is in flight
    offsets.done(10)
    offsets.committable  # 12: 15 is in flight
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
from aiokafka.structs import ConsumerRecord, TopicPartition

from streams.tasks import event_within

log = structlog.get_logger(__name__)


class PartitionOffsets:
    """The offsets of one partition that were delivered to this member in one assignment."""

    __slots__ = ("_delivered", "_done", "committable", "committed", "first")

    def __init__(self) -> None:
        self._delivered: deque[int] = deque()
        self._done: set[int] = set()
        self.first: int | None = None  # that was delivered
        self.committable: int | None = None  # every delivered offset below it is done
        self.committed: int | None = None  # that the broker has taken from this member

    def deliver(self, offset: int) -> None:
        """Note that a record was delivered. Offsets of a partition only rise within an assignment."""
        if self.first is None:
            self.first = offset
        self._delivered.append(offset)

    def done(self, offset: int) -> None:
        """Note that a delivered record has its durable outcome."""
        self._done.add(offset)
        while self._delivered and self._delivered[0] in self._done:
            head = self._delivered.popleft()
            self._done.discard(head)
            self.committable = head + 1

    @property
    def in_hand(self) -> int:
        """How many delivered records are not done."""
        return len(self._delivered) - len(self._done)

    @property
    def uncommitted(self) -> int | None:
        """What may be committed and is not; None where there is nothing."""
        return self.committable if self.committable != self.committed else None


class PartitionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a consumer is with one partition, as it knows without asking the broker."""

    topic: str
    partition: int
    committed: int | None  # not known before the first record
    committable: int | None  # what the next commit will commit
    position: int | None  # of the next record that will be handed on
    highwater: int | None  # the partition's end, as of the last answer to a fetch
    in_hand: int  # delivered, and not done
    fetched_at_ms: int | None  # when the last answer to a fetch came

    @property
    def lag(self) -> int:
        """How many records are not committed yet; what is not known counts as none."""
        begin = self.committed if self.committed is not None else self.position
        return max(0, self.highwater - begin) if self.highwater is not None and begin is not None else 0


class Assignment:
    """The partitions that a member has from one rebalance to the next, and how far it is with each.

    `source` is aiokafka's object of it. `generation` and `member_id` are the membership that it was given to.
    """

    def __init__(self, source: Any, *, generation: int, member_id: str) -> None:
        self.source = source
        self.generation = generation
        self.member_id = member_id
        self._revoked = asyncio.Event()
        self._offsets = {at: PartitionOffsets() for at in source.tps}
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def deliver(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> "RecordBatch":
        """Note that records are handed on; return them, those of a partition in their order."""
        for at, records in fetched.items():
            offsets = self._offsets[at]
            for record in records:
                offsets.deliver(record.offset)
        return RecordBatch(self, [record for records in fetched.values() for record in records])

    @property
    def revoked(self) -> bool:
        """Whether none of its records may be begun any more."""
        return self._revoked.is_set()

    async def lasts(self, seconds: float) -> bool:
        """Wait, and return whether it was not revoked meanwhile."""
        return not await event_within(self._revoked, seconds)

    def begin(self) -> None:
        """Note that the work on a record begins."""
        self._in_flight += 1
        self._idle.clear()

    def end(self, record: ConsumerRecord, *, done: bool) -> None:
        """Note that the work on a record is over; not `done`: it must be delivered again."""
        if done:
            self._offsets[TopicPartition(record.topic, record.partition)].done(record.offset)
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, and wait for what is in flight."""
        self._revoked.set()
        if not await event_within(self._idle, timeout_s):
            log.warning("consumer.drain_timed_out", in_flight=self._in_flight)

    def committable(self) -> Mapping[TopicPartition, int]:
        """Return the offsets that the broker does not have yet."""
        return {at: offset for at, each in self._offsets.items() if (offset := each.uncommitted) is not None}

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note that the broker has these."""
        for at, offset in offsets.items():
            self._offsets[at].committed = offset

    def progress(self) -> tuple[PartitionProgress, ...]:
        """Return how far each partition is. Asks nobody."""
        return tuple(self._partition_progress(at) for at in sorted(self._offsets))

    def _partition_progress(self, at: TopicPartition) -> PartitionProgress:
        offsets, state = self._offsets[at], self.source.state_value(at)
        return PartitionProgress(
            topic=at.topic,
            partition=at.partition,
            committed=offsets.first if offsets.committed is None else offsets.committed,
            committable=offsets.committable,
            position=state and state._position,  # noqa: SLF001  # `position` asserts that it is known
            highwater=state and state.highwater,
            in_hand=offsets.in_hand,
            fetched_at_ms=state and state.timestamp,
        )


class RecordBatch:
    """Records of one fetch, in the order of each partition, and the assignment that they belong to."""

    __slots__ = ("_ended", "_open", "assignment", "records")

    def __init__(self, assignment: Assignment, records: Sequence[ConsumerRecord]) -> None:
        self.assignment = assignment
        self.records = records
        self._open = len(records)
        self._ended = asyncio.Event()

    def end_one(self) -> None:
        """Note that the work on one of its records is over, whatever came of it."""
        self._open -= 1
        if not self._open:
            self._ended.set()

    async def ended_within(self, seconds: float) -> bool:
        """Wait until the work on all of them is over, for so long at most; return whether it is."""
        return await event_within(self._ended, seconds)

"""The sink: log records from Kafka into ClickHouse, each exactly once as far as a query can see.

For each batch: commit its first offset with its range as metadata; insert its rows under tokens made
of that range; commit the offset after its last. Whoever gets the partition next finds in the
metadata which batch may have been written without having been committed, and writes exactly that one first.

The loop polls whatever happens, so the sink stays in its group while ClickHouse is away; of partitions whose
buffers are full it asks for nothing.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.sink.batches import (
    ConsumedRecord,
    OffsetRange,
    PartitionBuffer,
    SinkBatch,
    partitions_to_pause,
)
from analytics.sink.consumer import BatchConsumer, SinkConfig, silence_s
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.kafka.inspector import KafkaInspector
from streams.tasks import unless_stopped

log = structlog.get_logger(__name__)

_WRITES_AT_ONCE = 2  # one is encoded while ClickHouse works on the other
_IN_HAND = _WRITES_AT_ONCE + 1  # the next one is there when one of them is done
_SILENT_AFTER_S = 5.0  # a broker answers each fetch within FETCH_WAIT_MS
_HANDOVER_S = 5.0  # for batches in hand at a rebalance or at the end; what is not done is written again


@dataclass(eq=False)
class _Partition:
    buffer: PartitionBuffer
    next_offset: int
    replay: OffsetRange | None
    batch: SinkBatch | None = None
    task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def oldest(self) -> ConsumedRecord | None:
        return self.batch.records[0] if self.batch is not None else self.buffer.oldest

    @property
    def oldest_ms(self) -> int:
        return self.oldest.timestamp_ms if self.oldest is not None else 0


class Sink(BatchConsumer):
    """Moves the records of one topic into ClickHouse until it is told to stop."""

    _config: SinkConfig
    _status: SinkStatus

    def __init__(self, config: SinkConfig, writer: BatchWriter, status: SinkStatus) -> None:
        super().__init__(config, status)
        self._writer = writer
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._unread_until = time.monotonic()  # when nothing was asked for, for the last time
        self._assignment = 0  # counts assignments, to recognise what belongs to an earlier one
        self._slots = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._inspector = KafkaInspector(
            config.bootstrap, client_id=config.group, timeout_s=config.kafka_timeout_s
        )

    async def _work_until(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as writes:
            await unless_stopped(stop, self._poll_forever(writes))
            await self._hand_over(self._partitions, writes)

    async def _close(self) -> None:
        await self._inspector.close()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    async def _poll_forever(self, writes: asyncio.TaskGroup) -> None:
        while True:
            fetched = await self._fetch(self._wanted())
            assignment = self._assignment
            await self._open(fetched)
            if assignment == self._assignment:  # else they are read again, by whoever has them now
                now = time.monotonic()
                for where, records in fetched.items():
                    read = [ConsumedRecord.of(record, self._config.auth) for record in records]
                    self._partitions[where].buffer.add(read, now)
            self._begin_all(self._partitions, writes)
            self._observe()

    async def _open(self, fetched: Iterable[TopicPartition]) -> None:
        assignment = self._assignment
        new = [where for where in fetched if where not in self._partitions]
        if not new:
            return
        committed = await self._status.retry(
            "kafka", partial(self._inspector.commits, self._config.group, new)
        )
        if assignment != self._assignment:
            return
        for where in new:
            commit = committed.get(where, OffsetAndMetadata(-1, ""))
            replay = OffsetRange.parse(commit.metadata or "", committed=commit.offset)
            if replay is not None:
                log.info("sink.replay", partition=where.partition, range=str(replay))
            self._partitions[where] = _Partition(
                PartitionBuffer(self._config.batch, replay=replay), max(commit.offset, 0), replay
            )

    def _wanted(self) -> set[TopicPartition]:
        buffers = {where: partition.buffer for where, partition in self._partitions.items()}
        wanted: set[TopicPartition] = self._consumer.assignment()
        wanted -= partitions_to_pause(buffers, limit_bytes=self._config.buffer_bytes)
        if not wanted:
            self._unread_until = time.monotonic()
        return wanted

    def _observe(self) -> None:
        oldest = [found.timestamp_ms for part in self._partitions.values() if (found := part.oldest)]
        self._status.oldest_waiting_at = datetime.fromtimestamp(min(oldest) / 1000, UTC) if oldest else None
        self._status.lag_records = sum(
            max((self._consumer.highwater(where) or 0) - partition.next_offset, 0)
            for where, partition in self._partitions.items()
        )
        self._status.polled()
        # Nobody has answered while nothing was asked for, either.
        silent_s = min(silence_s(self._consumer), time.monotonic() - self._unread_until)
        if silent_s > _SILENT_AFTER_S:
            self._status.failed("kafka_fetch", f"no broker has answered for {silent_s:.0f} s")
        else:
            self._status.recovered("kafka_fetch")

    # ── writing ───────────────────────────────────────────────────────────────────────────────────

    def _begin_all(
        self,
        partitions: Mapping[TopicPartition, _Partition],
        writes: asyncio.TaskGroup,
        *,
        flush: bool = False,
    ) -> None:
        """Start to write what is due, the oldest first, as far as there is room for batches in hand.

        What is due beyond that stays in its buffer, and counts there: else each partition had a batch more.
        """
        now = time.monotonic()
        room = _IN_HAND - sum(partition.busy for partition in partitions.values())
        due = [
            (where, partition)
            for where, partition in partitions.items()
            if not partition.busy
            and partition.buffer.due(now, end=self._consumer.highwater(where), flush=flush)
        ]
        for where, partition in sorted(due, key=lambda item: item[1].oldest_ms)[: max(room, 0)]:
            batch = partition.buffer.take(now)
            partition.batch = batch
            partition.task = writes.create_task(self._write(where, partition, batch))

    async def _write(self, where: TopicPartition, partition: _Partition, batch: SinkBatch) -> None:
        async with self._slots:
            await self._commit(where, batch.range.first, str(batch.range))
            await self._writer.write(batch)
            await self._commit(where, batch.range.last + 1, "")
        partition.next_offset = batch.range.last + 1
        partition.batch = None
        replayed, partition.replay = batch.range == partition.replay, None
        self._status.stored(len(batch.records), replayed=replayed)

    async def _commit(self, where: TopicPartition, offset: int, metadata: str) -> None:
        """Commit, and keep trying. Where the partition was lost, the rebalance ends the write."""
        commit = {where: OffsetAndMetadata(offset, metadata)}
        await self._status.retry("kafka", partial(self._try_commit, commit))

    async def _hand_over(
        self, partitions: Mapping[TopicPartition, _Partition], writes: asyncio.TaskGroup | None
    ) -> None:
        """Finish the batches in hand and, with `writes`, what waits behind them; drop what takes too long.

        Dropping is safe: a batch was announced before it was begun, so its successor repeats it exactly.
        """
        deadline = time.monotonic() + _HANDOVER_S
        while (remaining := deadline - time.monotonic()) > 0:
            if writes is not None:
                self._begin_all(partitions, writes, flush=True)
            tasks = [part.task for part in partitions.values() if part.task is not None and part.busy]
            if not tasks:
                return
            await asyncio.wait(tasks, timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
        for partition in partitions.values():
            if partition.task is not None:
                partition.task.cancel()

    # ── the group ─────────────────────────────────────────────────────────────────────────────────

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let go of everything: partitions that stay with us come back with the next assignment."""
        del revoked  # aiokafka rebalances eagerly: it is always all of them
        self._assignment += 1
        partitions, self._partitions = self._partitions, {}
        await self._hand_over(partitions, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Count the assignment. A partition is opened with the first record that arrives from it."""
        self._assignment += 1
        await super().on_partitions_assigned(assigned)

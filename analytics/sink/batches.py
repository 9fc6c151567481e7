"""Which records are written together. Pure.

A batch is a contiguous range of offsets of one partition. The range names the batch: it is committed as
metadata before the first insert, and it is part of each insert's deduplication token. So a restart writes
exactly the same batch again, and ClickHouse recognises it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import takewhile
from typing import Self, TypeVar

import msgspec

from analytics.sink.rows import TABLES, RequestRows, Row, Table
from streams.redelivery import Record

K = TypeVar("K")

_RANGE = re.compile(r"(\d{1,19})-(\d{1,19})")


class ConsumedRecord(Record, frozen=True, kw_only=True, gc=False):
    """A record as it came from the topic."""

    @property
    def size_bytes(self) -> int:
        """The bytes of its key and value."""
        return len(self.key or b"") + len(self.value or b"")


class OffsetRange(msgspec.Struct, frozen=True):
    """The first and the last offset of a batch, both inclusive."""

    first: int
    last: int

    def __str__(self) -> str:
        """The form of the commit metadata and the tokens: ``first-last``."""
        return f"{self.first}-{self.last}"

    @classmethod
    def parse(cls, metadata: str, *, committed: int) -> Self | None:
        """Return the range that a commit announced, or None where it announced none.

        A range that does not begin at the committed offset, or ends before it begins, is not one of ours.
        """
        match = _RANGE.fullmatch(metadata)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2])
        return cls(first, last) if first == committed <= last else None


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When a batch is closed: at so many records or bytes, or some time after its first record.

    An insert costs ClickHouse the same 5 to 10 ms of CPU whether it has one row or hundreds. So a single
    record is written after `seconds`; the more records there are, the longer they wait for others, up to
    `busy_seconds`.
    """

    rows: int
    bytes: int
    seconds: float
    busy_seconds: float

    def max_age_s(self, records: int) -> float:
        """Return the age at which a batch of so many records is closed.

        It grows with the square root of their number: at a steady rate r a batch is closed when it is
        seconds² x r old, so the wait grows in step with the rate, which need not be measured.
        """
        return max(self.seconds, min(self.seconds * math.sqrt(records), self.busy_seconds))


class SinkBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Records that are written together. Never empty."""

    topic: str
    partition: int
    range: OffsetRange
    records: tuple[ConsumedRecord, ...]


class PartitionBuffer:
    """The records of one partition that wait to be written.

    `replay` is a range that was announced and perhaps written before: it becomes the first batch, exactly.
    """

    def __init__(self, limits: BatchLimits, *, replay: OffsetRange | None = None) -> None:
        self._limits = limits
        self._replay = replay
        self._records: list[ConsumedRecord] = []
        self._since = 0.0
        self.size_bytes = 0

    def __len__(self) -> int:
        """How many records wait."""
        return len(self._records)

    @property
    def oldest(self) -> ConsumedRecord | None:
        """The record that waits longest."""
        return self._records[0] if self._records else None

    @property
    def full(self) -> bool:
        """Whether to stop reading for now. Never while a range to be replayed is incomplete."""
        if not self.interruptible:
            return False
        return len(self._records) >= self._limits.rows or self.size_bytes >= self._limits.bytes

    @property
    def interruptible(self) -> bool:
        """Whether reading may pause here: not in the middle of a range that is to be replayed."""
        return self._replay is None or self._replayable()

    def add(self, records: Iterable[ConsumedRecord], now: float) -> None:
        """Append records, in the order of their offsets. `now` is a monotonic time in seconds."""
        if not self._records:
            self._since = now
        for record in records:
            self._records.append(record)
            self.size_bytes += record.size_bytes

    def due(self, now: float, *, end: int | None, flush: bool = False) -> bool:
        """Whether a batch is to be written now.

        `end` is the partition's end offset, where it is known: a range whose end was lost from the log is
        given up when everything there is has been read. `flush` waits for no more records, except for those
        of such a range.
        """
        if not self._records:
            return False
        if self._replay is not None:
            if self._replayable():
                return True
            if end is None or self._records[-1].offset + 1 < end:
                return False
            self._replay = None
        return flush or self.full or now - self._since >= self._limits.max_age_s(len(self._records))

    def take(self, now: float) -> SinkBatch:
        """Remove the next batch and return it. Only when one is due."""
        count = self._next_count()
        taken, self._records = tuple(self._records[:count]), self._records[count:]
        self.size_bytes -= sum(record.size_bytes for record in taken)
        self._replay = None
        self._since = now
        first, last = taken[0], taken[-1]
        offsets = OffsetRange(first.offset, last.offset)
        return SinkBatch(topic=first.topic, partition=first.partition, range=offsets, records=taken)

    def _replayable(self) -> bool:
        return (
            self._replay is not None and bool(self._records) and self._records[-1].offset >= self._replay.last
        )

    def _next_count(self) -> int:
        if self._replay is not None:
            last = self._replay.last
            # None of the range is left where its records have expired meanwhile.
            replayed = sum(1 for _ in takewhile(lambda record: record.offset <= last, self._records))
            if replayed:
                return replayed
        size = 0
        for count, record in enumerate(self._records[: self._limits.rows], start=1):
            size += record.size_bytes
            if size >= self._limits.bytes:
                return count
        return min(len(self._records), self._limits.rows)


def partitions_to_pause(buffers: Mapping[K, PartitionBuffer], *, limit_bytes: int) -> set[K]:
    """Return the buffers that are to get no more records for now.

    These are the full ones; and when all together hold `limit_bytes`, all but the largest, which grows until
    it is full. So there is always a whole batch to write at the limit; if all stopped half full, each would
    wait until its batch is old enough. The buffers hold at most `limit_bytes`, one batch and one read; a
    range that is to be replayed counts extra, because it must be completed.
    """
    full = {key for key, buffer in buffers.items() if buffer.full}
    if sum(buffer.size_bytes for buffer in buffers.values()) < limit_bytes:
        return full
    waiting = {key for key, buffer in buffers.items() if buffer.interruptible}
    growing = max(waiting, key=lambda key: buffers[key].size_bytes, default=None) if not full else None
    return waiting - {growing}


class InsertBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one insert into one table. `sources[i]` is the place of the record that row i came from."""

    table: Table
    rows: Sequence[Row]
    sources: Sequence[int]
    token: str

    def halves(self) -> tuple[Self, Self]:
        """Return the two halves of a block whose rows were refused, with tokens of their own.

        The tokens depend on the rows' places in the block alone, so they are the same on each try.
        """
        middle = len(self.rows) // 2
        return self._part(0, middle), self._part(middle, len(self.rows))

    def _part(self, start: int, stop: int) -> Self:
        return msgspec.structs.replace(
            self,
            rows=self.rows[start:stop],
            sources=self.sources[start:stop],
            token=f"{self.token}/{start}-{stop}",
        )


def split_by_day(batch: SinkBatch, requests: Iterable[tuple[int, RequestRows]]) -> list[InsertBlock]:
    """Return the inserts of a batch, in the order in which they are to be made.

    Partitions are days, and an insert makes a part in each partition that it touches: a batch of late
    records would exceed what ClickHouse lets one insert touch. `requests` has the rows of each record, with
    the record's place in the batch.
    """
    rows: dict[tuple[date, int], tuple[list[Row], list[int]]] = {}
    order = {table.name: number for number, table in enumerate(TABLES)}
    for source, request in requests:
        for table, table_rows in request.rows:
            if not table_rows:
                continue
            into, sources = rows.setdefault((request.day, order[table.name]), ([], []))
            into += table_rows
            sources += [source] * len(table_rows)
    prefix = f"{batch.topic}:{batch.partition}:{batch.range}"
    return [
        InsertBlock(
            table=TABLES[number],
            rows=block_rows,
            sources=sources,
            token=f"{prefix}:{TABLES[number].name}:{day.isoformat()}",
        )
        for (day, number), (block_rows, sources) in sorted(rows.items())
    ]

"""Records that were read and are not settled yet. Pure.

Feedback may come before its request's row, and must not hold up the records behind it. So later records are
settled meanwhile, and the offset of the first unsettled one is committed: after a crash that record and those
behind it come again. Settling a record twice changes nothing, because its score replaces itself.
"""

import heapq
from collections.abc import Collection, Iterable
from itertools import count

import msgspec

from analytics.feedback.scores import ParsedFeedback
from analytics.sink.batches import ConsumedRecord
from streams.backoff import Backoff
from streams.errors import InputError

PartitionKey = tuple[str, int]

_PAUSES = Backoff(first_s=0.25, max_s=30.0, jitter=0)
#: Whatever its timestamp says, a record is looked for this long: a sender's clock may be behind.
_LEAST_WAIT_S = 10.0


class PendingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much feedback may be pending, and for how long.

    `crowded_wait_s` holds while as much is pending as may be, so that unknown ids cannot hold up the rest.
    """

    wait_s: float
    crowded_wait_s: float = 30.0
    records: int = 20_000
    bytes: int = 16 * 1024 * 1024


class PendingRecord(msgspec.Struct, kw_only=True, eq=False):
    """A record that is not settled.

    Its request is waited for until `deadline_at`, and it is looked at next at `due_at`; times are Unix
    seconds.
    """

    record: ConsumedRecord
    parsed: ParsedFeedback | InputError
    seen_at: float
    deadline_at: float
    due_at: float
    tries: int = 0
    settled: bool = False

    @property
    def place(self) -> PartitionKey:
        """Its partition."""
        return (self.record.topic, self.record.partition)


class PendingFeedback:
    """Keeps records until they are settled."""

    def __init__(self, limits: PendingLimits) -> None:
        self._limits = limits
        self._entries: dict[PartitionKey, dict[int, PendingRecord]] = {}
        self._next: dict[PartitionKey, int] = {}
        self._due: list[tuple[float, int, PendingRecord]] = []
        self._number = count()
        self.size_bytes = 0

    def __len__(self) -> int:
        """How many records are pending."""
        return sum(map(len, self._entries.values()))

    @property
    def full(self) -> bool:
        """Whether to stop reading for now."""
        return len(self) >= self._limits.records or self.size_bytes >= self._limits.bytes

    @property
    def oldest_at(self) -> float | None:
        """When the oldest pending record was read, in Unix seconds."""
        firsts = (next(iter(entries.values())) for entries in self._entries.values() if entries)
        return min((entry.seen_at for entry in firsts), default=None)

    def add(self, record: ConsumedRecord, parsed: ParsedFeedback | InputError, now: float) -> None:
        """Add a record, in the order of its partition's offsets. It is due at once.

        Its wait counts from its timestamp, so that a restart does not begin the wait anew.
        """
        wait_s = self._limits.wait_s
        earliest = now - wait_s + min(wait_s, _LEAST_WAIT_S)
        since = min(max(record.timestamp_ms / 1000, earliest), now)
        entry = PendingRecord(
            record=record, parsed=parsed, seen_at=now, deadline_at=since + wait_s, due_at=now
        )
        self._entries.setdefault(entry.place, {})[record.offset] = entry
        self._next[entry.place] = record.offset + 1
        self.size_bytes += record.size_bytes
        self._schedule(entry)

    def due(self, now: float, *, most: int) -> list[PendingRecord]:
        """Return up to `most` records that are due; each must then be settled or postponed."""
        found: list[PendingRecord] = []
        while self._due and len(found) < most and self._due[0][0] <= now:
            _, _, entry = heapq.heappop(self._due)
            if not entry.settled:
                found.append(entry)
        return found

    def postpone(self, entries: Iterable[PendingRecord], now: float) -> None:
        """Let records wait on, each time twice as long."""
        for entry in entries:
            if not entry.settled:
                entry.tries += 1
                entry.due_at = now + _PAUSES.wait_s(entry.tries)
                self._schedule(entry)

    def settled(self, entries: Iterable[PendingRecord]) -> None:
        """Remove records that are settled."""
        for entry in entries:
            if not entry.settled:
                self._drop(entry)
                del self._entries[entry.place][entry.record.offset]

    def forget(self) -> None:
        """Drop everything: the partitions belong to another consumer now."""
        for entries in self._entries.values():
            for entry in entries.values():
                self._drop(entry)
        self._entries.clear()
        self._next.clear()
        self._due.clear()

    def positions(self) -> dict[PartitionKey, int]:
        """Return for each partition the offset of the first record that is not settled."""
        return {place: next(iter(self._entries.get(place, ())), after) for place, after in self._next.items()}

    def overdue(self, entries: Collection[PendingRecord], now: float) -> list[PendingRecord]:
        """Return those that have waited long enough."""
        crowded_s = self._limits.crowded_wait_s if self.full else float("inf")
        return [entry for entry in entries if min(entry.deadline_at, entry.seen_at + crowded_s) <= now]

    def _schedule(self, entry: PendingRecord) -> None:
        heapq.heappush(self._due, (entry.due_at, next(self._number), entry))

    def _drop(self, entry: PendingRecord) -> None:
        entry.settled = True
        self.size_bytes -= entry.record.size_bytes

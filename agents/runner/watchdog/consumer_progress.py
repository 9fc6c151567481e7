"""What one consumer works on, and what it has done: the facts that the watchdog judges by."""

from collections.abc import Callable

import msgspec

from agents.stage import Record


class RecordWork:
    """One record that is being worked on. Whoever works on it notes here what becomes of it.

    Attributes:
        place: the record's own place in the log.
        began_at: when the work began, in seconds of the watchdog's clock.
        allowed_s: how long it may take beyond what any record may, in seconds.
        put_aside: whether it went to the retry topic.
        is_dead: whether it became a dead letter.
    """

    __slots__ = ("allowed_s", "began_at", "is_dead", "place", "put_aside")

    def __init__(self, place: str, began_at: float) -> None:
        self.place = place
        self.began_at = began_at
        self.allowed_s = 0.0
        self.put_aside = False
        self.is_dead = False

    def may_take(self, seconds: float) -> None:
        """Allow the work so much time: it waits for a slow provider, or for a time of day."""
        self.allowed_s = max(self.allowed_s, seconds)


class RecordCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many records came to which end since the process began."""

    acked: int = 0
    put_aside: int = 0
    dead_letters: int = 0
    handed_back: int = 0


class ConsumerProgress:
    """Keeps the records in flight of one consumer, and counts those that are done.

    Args:
        now: the watchdog's clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._in_flight: dict[int, RecordWork] = {}
        self.counts = RecordCounts()
        self.last_begin_at = now()
        self.last_ack_at: float | None = None

    def begin(self, record: Record) -> RecordWork:
        """Note that the work on a record begins."""
        work = RecordWork(record.place, self._now())
        self._in_flight[id(work)] = work
        self.last_begin_at = work.began_at
        return work

    def end(self, work: RecordWork, *, acked: bool) -> None:
        """Note that the work is over: its record was acknowledged, or handed back to be delivered again."""
        del self._in_flight[id(work)]
        counts = self.counts
        self.counts = RecordCounts(
            acked=counts.acked + acked,
            put_aside=counts.put_aside + work.put_aside,
            dead_letters=counts.dead_letters + work.is_dead,
            handed_back=counts.handed_back + (not acked),
        )
        if acked:
            self.last_ack_at = self._now()

    def abandon(self, work: RecordWork) -> None:
        """Note that the work was broken off: by a fault that ends the process, or with its task."""
        self._in_flight.pop(id(work), None)

    @property
    def in_flight(self) -> tuple[RecordWork, ...]:
        """The records that are being worked on, the oldest first."""
        return tuple(self._in_flight.values())

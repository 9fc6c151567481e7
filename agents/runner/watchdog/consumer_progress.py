"""What one consumer has in hand and what it has done: the facts by which the watchdog judges it."""

from collections.abc import Callable

import msgspec

from agents.stage import Record


class Work:
    """One record that is being worked on. Whoever works on it notes here what becomes of it.

    Attributes:
        place: the record's own place in the log.
        began_at: when the work began, in seconds of the watch's clock.
        allowed_s: how long it may take beyond what any record may, in seconds.
        put_aside: whether it went to the retry topic.
        buried: whether it became a dead letter.
    """

    __slots__ = ("allowed_s", "began_at", "buried", "place", "put_aside")

    def __init__(self, place: str, began_at: float) -> None:
        self.place = place
        self.began_at = began_at
        self.allowed_s = 0.0
        self.put_aside = False
        self.buried = False

    def may_take(self, seconds: float) -> None:
        """Say that the work may well take so long: it waits for somebody slow, or for a time of day."""
        self.allowed_s = max(self.allowed_s, seconds)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many records came to which end since the process began."""

    acked: int = 0
    put_aside: int = 0
    dead_letters: int = 0
    handed_back: int = 0


class Progress:
    """Keeps the records in flight of one consumer, and counts those that are done.

    Args:
        now: the watch's clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._in_flight: dict[int, Work] = {}
        self.counts = Counts()
        self.last_begin_at = now()
        self.last_ack_at: float | None = None

    def begin(self, record: Record) -> Work:
        """Note that the work on a record begins."""
        work = Work(record.place, self._now())
        self._in_flight[id(work)] = work
        self.last_begin_at = work.began_at
        return work

    def end(self, work: Work, *, acked: bool) -> None:
        """Note that the work is over: its record was acknowledged, or handed back to be delivered again."""
        del self._in_flight[id(work)]
        counts = self.counts
        self.counts = Counts(
            acked=counts.acked + acked,
            put_aside=counts.put_aside + work.put_aside,
            dead_letters=counts.dead_letters + work.buried,
            handed_back=counts.handed_back + (not acked),
        )
        if acked:
            self.last_ack_at = self._now()

    def abandon(self, work: Work) -> None:
        """Note that the work was broken off: by a fault that ends the process, or with its task."""
        self._in_flight.pop(id(work), None)

    @property
    def in_flight(self) -> tuple[Work, ...]:
        """The records that are being worked on, the oldest first."""
        return tuple(self._in_flight.values())

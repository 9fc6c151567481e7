"""What the reader of feedback says about itself."""

from datetime import UTC, datetime
from typing import Any

from analytics.sink.status import Clock, Outages, utc_now


class FeedbackStatus(Outages):
    """Counters and states. Used from one event loop only.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__("feedback", clock)
        self.joined = False
        self.partitions = 0
        self.records = 0
        self.scores = 0
        self.erased = 0
        self.dead_letters = 0
        self.waiting = 0
        self.waiting_since: datetime | None = None

    def crowd(self, waiting: int, oldest_at: float | None) -> None:
        """Note how many records are not settled, and since when the oldest of them is here (Unix seconds)."""
        self.waiting = waiting
        self.waiting_since = None if oldest_at is None else datetime.fromtimestamp(oldest_at, UTC)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as `/health` shows it."""
        return {
            "joined": self.joined,
            "partitions": self.partitions,
            "records": self.records,
            "scores": self.scores,
            "erased": self.erased,
            "dead_letters": self.dead_letters,
            "waiting": self.waiting,
            "waiting_since": self.waiting_since,
            "outages": {name: outage.error for name, outage in self.outages.items()},
        }

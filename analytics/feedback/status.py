"""What the feedback consumer reports about itself."""

from datetime import UTC, datetime
from typing import Any

from analytics.sink.status import Clock, ConsumerStatus, utc_now


class FeedbackStatus(ConsumerStatus):
    """Counters and states."""

    _SHOWN = (
        *("joined", "partitions", "records", "scores", "erased", "dead_letters"),
        *("waiting", "waiting_since"),
    )

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__("feedback", clock)
        self.scores = 0
        self.erased = 0
        self.waiting = 0
        self.waiting_since: datetime | None = None

    def pending(self, waiting: int, oldest_at: float | None) -> None:
        """Note how many records are pending, and since when the oldest of them is (Unix seconds)."""
        self.waiting = waiting
        self.waiting_since = None if oldest_at is None else datetime.fromtimestamp(oldest_at, UTC)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as `/health` shows it."""
        return {
            **{name: getattr(self, name) for name in self._SHOWN},
            "outages": {name: outage.error for name, outage in self.outages.items()},
        }

"""What the watcher has seen last, for `/metrics`."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from streams.events import AlertRaised


class WatchStatus:
    """Figures of the last round. Used from one event loop only; a figure is None until it is known."""

    def __init__(self) -> None:
        self.watching = False
        self.standing: Sequence[AlertRaised] = ()
        self.sink_lag_records: int | None = None
        self.sink_stale_s: float | None = None
        self.newest_rows: Mapping[str, datetime] = {}
        self.judged_until: datetime | None = None
        self.round_at: datetime | None = None
        self.rounds = 0
        self.failed_rounds = 0
        self.raised = 0
        self.resolved = 0

"""The watcher's figures, for `/metrics` and `/health`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

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

    def standing_counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many alerts stand, by rule and severity; not by tenant, whose number has no bound."""
        counts: dict[tuple[str, str], int] = {}
        for event in self.standing:
            kind = (event.rule, event.severity)
            counts[kind] = counts.get(kind, 0) + 1
        return dict(sorted(counts.items()))

    def as_dict(self) -> dict[str, Any]:
        """Return what `/health` shows, which needs no key: no tenant is named."""
        return {
            "watching": self.watching,
            "round_at": self.round_at,
            "judged_until": self.judged_until,
            "failed_rounds": self.failed_rounds,
            "standing": [
                {"rule": rule, "severity": severity, "alerts": count}
                for (rule, severity), count in self.standing_counts().items()
            ],
        }

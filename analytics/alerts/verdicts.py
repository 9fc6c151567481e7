"""The verdict on one measure: what the judging functions return and `alert_states` takes."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

import msgspec

from streams.events import AlertRaised

Direction = Literal["above", "below"]


class MeasureState(StrEnum):
    """The state of a measure in a window."""

    CALM = "calm"
    UNCLEAR = "unclear"
    ANOMALOUS = "anomalous"


class AlertSeries(msgspec.Struct, frozen=True):
    """What an alert is about: one measure of one tenant (or of all), in one direction."""

    rule: str
    direction: Direction
    tenant: str

    @classmethod
    def of(cls, event: AlertRaised) -> Self:
        """Return the series that a record is of."""
        return cls(event.rule, event.direction, event.tenant)

    @property
    def key(self) -> str:
        """The key of its records."""
        return f"{self.rule}:{self.direction}:{self.tenant or '*'}"

    def alert_id(self, began_at: datetime) -> str:
        """Return the id of the alert of this series whose first window began then."""
        return f"{self.key}:{began_at.strftime('%Y-%m-%dT%H:%M:%SZ')}"


class SeriesVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One series at one time.

    `confirm` is how many verdicts in a row have to be anomalous before it is an alert, and how many have to
    be calm before that is over. `sentence` says it in words, where it is no comparison with what is expected.
    """

    series: AlertSeries
    finding: MeasureState
    observed: float
    expected: float
    unit: str
    method: str
    severe: bool = False
    p_value: float | None = None
    history_windows: int = 0
    confirm: int = 2
    sentence: str = ""

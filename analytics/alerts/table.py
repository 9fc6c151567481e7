"""The records of `llm.alerts.v1` as rows in ClickHouse, for analysts."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics.clickhouse import ClickHouse
from streams.events import AlertRaised

TABLE = "alerts_raw"

_TIMES = ("window_since", "window_until", "began_at", "at")
_COLUMNS = (
    *("alert_id", "state", "tenant", "rule", "direction", "severity", "observed", "expected", "unit"),
    *("method", "message", "p_value", "history_windows", *_TIMES),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AlertTable:
    """Stores records of the topic. Storing one again changes nothing."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def store(self, events: Sequence[AlertRaised]) -> None:
        """Store records.

        Raises:
            ClickHouseUnavailable: no answer in time; perhaps they are stored all the same.
        """
        if not events:
            return
        ids = "\n".join(f"{event.alert_id}:{event.state}" for event in events)
        token = f"alerts:{hashlib.sha256(ids.encode()).hexdigest()}"
        await self._clickhouse.insert(TABLE, _COLUMNS, [_row(event) for event in events], token=token)


def _row(event: AlertRaised) -> tuple[Any, ...]:
    return tuple(
        (getattr(event, name) - _EPOCH) // _MICROSECOND if name in _TIMES else getattr(event, name)
        for name in _COLUMNS
    )

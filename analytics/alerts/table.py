"""The records of `llm.alerts.v1` as rows in ClickHouse, for analysts."""

import hashlib
from collections.abc import Sequence
from typing import Any

from analytics.clickhouse import ClickHouse, micros
from streams.events import AlertRaised

TABLE = "alerts_raw"

_TIMES = ("window_since", "window_until", "began_at", "at")
_COLUMNS = (
    *("alert_id", "state", "tenant", "rule", "direction", "severity", "observed", "expected", "unit"),
    *("method", "message", "p_value", "history_windows", *_TIMES),
)


async def store_alerts(clickhouse: ClickHouse, events: Sequence[AlertRaised]) -> None:
    """Store records of the topic; storing one again changes nothing."""
    if not events:
        return
    ids = "\n".join(f"{event.alert_id}:{event.state}" for event in events)
    token = f"alerts:{hashlib.sha256(ids.encode()).hexdigest()}"
    await clickhouse.insert(TABLE, _COLUMNS, [_row(event) for event in events], token=token)


def _row(event: AlertRaised) -> tuple[Any, ...]:
    values = {name: getattr(event, name) for name in _COLUMNS}
    return tuple(micros(value) if name in _TIMES else value for name, value in values.items())

"""Alerts that are known: raised and resolved before, within and after the window that is asked about."""

from datetime import datetime, timedelta

import msgspec

from streams.events import AlertRaised
from tests.analytics.reports.queries.known import SINCE, UNTIL

_HOUR = timedelta(hours=1)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert; it stands where nothing resolved it."""

    rule: str
    tenant: str
    raised_at: datetime
    resolved_at: datetime | None = None
    observed: float = 0.31
    unit: str = "ratio"

    @property
    def alert_id(self) -> str:
        """Its id, as the watcher makes it."""
        return f"{self.rule}:above:{self.tenant or '*'}:{self.raised_at:%Y-%m-%dT%H:%M:%SZ}"

    def records(self) -> list[AlertRaised]:
        """What the watcher writes of it."""
        raised = AlertRaised(
            alert_id=self.alert_id,
            rule=self.rule,
            state="raised",
            severity="warning",
            direction="above",
            tenant=self.tenant,
            observed=self.observed,
            expected=0.1,
            unit=self.unit,
            method="a test's",
            message=f"{self.rule} of {self.tenant}",
            window_since=self.raised_at - _HOUR,
            window_until=self.raised_at,
            began_at=self.raised_at - 2 * _HOUR,
            at=self.raised_at,
        )
        if self.resolved_at is None:
            return [raised]
        return [raised, msgspec.structs.replace(raised, state="resolved", at=self.resolved_at, observed=0.05)]


ALERTS = (
    Alert(rule="spend", tenant="acme", raised_at=SINCE - 9 * _HOUR, resolved_at=SINCE - _HOUR),
    Alert(rule="error_rate", tenant="acme", raised_at=SINCE - 2 * _HOUR, resolved_at=SINCE + _HOUR),
    Alert(rule="error_rate", tenant="globex", raised_at=SINCE + 3 * _HOUR, resolved_at=SINCE + 5 * _HOUR),
    Alert(rule="sink_lag", tenant="", raised_at=SINCE + 4 * _HOUR, observed=2e6, unit="records"),
    Alert(
        rule="spend", tenant="acme", raised_at=UNTIL - 2 * _HOUR, resolved_at=UNTIL + 7 * _HOUR, unit="usd"
    ),
    Alert(rule="spend", tenant="globex", raised_at=UNTIL - 1 * _HOUR, unit="usd"),
    Alert(rule="block_rate", tenant="acme", raised_at=UNTIL + _HOUR),
)

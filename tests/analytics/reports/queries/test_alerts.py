"""The alerts that an analyst sees: those that stood in the window."""

from datetime import timedelta
from typing import Any

import pytest

from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import SINCE, TENANTS, UNTIL
from tests.analytics.reports.queries.known_alerts import ALERTS

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]


def expected(tenant: str, *, rule: str = "", standing: bool = False) -> list[dict[str, Any]]:
    """The rows, by hand."""
    stood = [
        alert
        for alert in ALERTS
        if alert.raised_at < UNTIL
        and (alert.resolved_at is None or alert.resolved_at >= (UNTIL if standing else SINCE))
        and tenant in ("", alert.tenant)
        and rule in ("", alert.rule)
    ]
    return [
        {
            "raised_at": alert.raised_at,
            "resolved_at": alert.resolved_at,
            "rule": alert.rule,
            "tenant": alert.tenant,
            "severity": "warning",
            "direction": "above",
            "observed": alert.observed,
            "expected": 0.1,
            "measured_in": alert.unit,
            "began_at": alert.raised_at - timedelta(hours=2),
            "duration_s": ((alert.resolved_at or UNTIL) - alert.raised_at).total_seconds(),
            "message": f"{alert.rule} of {alert.tenant}",
            "alert_id": alert.alert_id,
        }
        for alert in sorted(stood, key=lambda each: each.raised_at, reverse=True)
    ]


async def test_alerts_that_stood_in_the_window(ask: Ask, tenant: str) -> None:
    """Raised before it or in it, and not over before it: once each, with what raised it, and how long."""
    assert await ask("alerts", tenant=tenant) == expected(tenant)
    assert len(expected("")) == 5
    assert {row["tenant"] for row in expected("acme")} == {"acme"}


async def test_alerts_of_one_rule_and_those_that_stand(ask: Ask, tenant: str) -> None:
    """The filters, alone and together."""
    assert await ask("alerts", tenant=tenant, rule="spend") == expected(tenant, rule="spend")
    assert await ask("alerts", tenant=tenant, standing=1) == expected(tenant, standing=True)
    both = await ask("alerts", tenant=tenant, rule="error_rate", standing=1)
    assert both == expected(tenant, rule="error_rate", standing=True) == []
    assert len(await ask("alerts", tenant=tenant, limit=1)) == 1

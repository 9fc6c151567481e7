"""Traffic by the hour, and against what is usual."""

from datetime import timedelta

import pytest

from streams.events import RequestLog, Status
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import SINCE, TENANTS, UNTIL, cost, groups, logs_of, quantile

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]

_ERRORS = (Status.FAILED, Status.DEGRADED)


def by_hour(tenant: str) -> dict[object, list[RequestLog]]:
    return dict(
        sorted(
            groups(
                logs_of(tenant), lambda log: log.accepted_at.replace(minute=0, second=0, microsecond=0)
            ).items()
        )
    )


async def test_by_hour(ask: Ask, tenant: str) -> None:
    """Every hour that had a request, with how its requests ended."""
    expected = []
    for hour, logs in by_hour(tenant).items():
        ends = [log.status for log in logs]
        times = [log.latency_ms for log in logs]
        errors = sum(end in _ERRORS for end in ends)
        expected.append(
            {
                "hour": hour,
                "requests": len(logs),
                "answered": ends.count(Status.ANSWERED),
                "cached": ends.count(Status.CACHED),
                "blocked": ends.count(Status.BLOCKED),
                "errors": errors,
                "cancelled": ends.count(Status.CANCELLED),
                "error_share": pytest.approx(errors / len(logs)),
                "block_share": pytest.approx(ends.count(Status.BLOCKED) / len(logs)),
                "hit_share": pytest.approx(ends.count(Status.CACHED) / len(logs)),
                "cost_usd": cost(logs),
                "p50_latency_ms": quantile(0.5, times),
                "p95_latency_ms": quantile(0.95, times),
            }
        )
    assert await ask("traffic_by_hour", tenant=tenant) == expected


async def test_against_the_usual(ask: Ask, tenant: str) -> None:
    """The last day, hour by hour, beside the median of the same hour of the two days before."""
    hours = by_hour(tenant)
    since = UNTIL - timedelta(days=1)
    expected = []
    for hour, logs in hours.items():
        before = [hours[day] for n in (1, 2) if (day := hour - timedelta(days=n)) in hours]  # type: ignore[operator]
        if hour >= since and before:  # type: ignore[operator]
            p95, errors = ([measure(each) for each in (logs, *before)] for measure in (_p95, _error_share))
            expected.append(
                {
                    "hour": hour,
                    "days": len(before),
                    "requests": len(logs),
                    "usual_requests": quantile(0.5, [len(each) for each in before]),
                    "cost_usd": cost(logs),
                    "usual_cost_usd": quantile(0.5, [cost(each) for each in before]),
                    "p95_latency_ms": p95[0],
                    "usual_p95_latency_ms": quantile(0.5, p95[1:]),
                    "error_share": pytest.approx(errors[0]),
                    "usual_error_share": pytest.approx(quantile(0.5, errors[1:])),
                }
            )
    assert await ask("hours_against_usual", tenant=tenant, since=since, days=2) == expected
    assert max(row["days"] for row in expected) == 2


async def test_an_hour_that_is_not_over_is_not_compared(ask: Ask, tenant: str) -> None:
    """Half an hour's requests would look like a slump."""
    rows = await ask(
        "hours_against_usual", tenant=tenant, since=SINCE, until=UNTIL - timedelta(minutes=30), days=2
    )
    assert rows
    assert max(row["hour"] for row in rows) < UNTIL - timedelta(hours=1)


def _p95(logs: list[RequestLog]) -> float:
    found: float = quantile(0.95, [log.latency_ms for log in logs])
    return found


def _error_share(logs: list[RequestLog]) -> float:
    return sum(log.status in _ERRORS for log in logs) / len(logs)

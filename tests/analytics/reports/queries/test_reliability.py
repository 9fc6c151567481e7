"""What went wrong, and what came late or twice."""

from datetime import timedelta

import pytest

from streams.events import Status
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import (
    AGAIN,
    LOGS,
    STORED_AGAIN_AT,
    STORED_AT,
    TENANTS,
    calls_of,
    cost,
    groups,
    logs_of,
    mean,
    quantile,
    total,
)

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]


async def test_errors_by_provider_and_type(ask: Ask, tenant: str) -> None:
    """Against all calls to the same model; lost answers are a type of their own."""
    charged = [call for _, call in calls_of(tenant) if not call.shadow]
    of_model = groups(charged, lambda call: (call.provider, call.request_model))
    expected = []
    for (provider, model), calls in of_model.items():
        for error, failed in groups(calls, lambda call: call.error).items():
            if error is not None:
                expected.append(
                    {
                        "provider": provider,
                        "model": model,
                        "error": error,
                        "failed": len(failed),
                        "calls": len(calls),
                        "error_share": pytest.approx(len(failed) / len(calls)),
                        "cost_usd": total(call.cost_usd for call in failed),
                    }
                )
    expected.sort(key=lambda row: (-row["failed"], row["provider"], row["model"], row["error"]))
    assert await ask("errors_by_provider", tenant=tenant) == expected
    assert {row["error"] for row in expected} >= {"orphaned", "timeout"}


async def test_requests_without_a_proper_answer(ask: Ask, tenant: str) -> None:
    """By the code that their sender was told; of all requests."""
    everything = logs_of(tenant)
    expected = [
        {
            "status": status,
            "error_code": code,
            "requests": len(logs),
            "request_share": pytest.approx(len(logs) / len(everything)),
            "users": len({(log.tenant, log.user_id) for log in logs}),
            "cost_usd": cost(logs),
        }
        for (status, code), logs in groups(everything, lambda log: (log.status.value, log.error_code)).items()
        if status not in ("answered", "cached")
    ]
    expected.sort(key=lambda row: (-row["requests"], row["status"], row["error_code"]))
    assert await ask("failures", tenant=tenant) == expected


async def test_fallbacks_and_what_they_add(ask: Ask, tenant: str) -> None:
    """What is added is the price of the attempts that gave no answer, and the time."""
    reached = [log for log in logs_of(tenant) if log.cache_kind in ("miss", "bypass")]
    expected = []
    for day, logs in sorted(groups(reached, lambda log: log.accepted_at.date()).items()):
        fell = [log for log in logs if log.fallback]
        straight = [log.latency_ms for log in logs if not log.fallback]
        slow = [log.latency_ms for log in fell]
        failed = [call for log in fell for call in log.calls if call.error and not call.shadow]
        expected.append(
            {
                "day": day,
                "requests": len(logs),
                "fallbacks": len(fell),
                "fallback_share": pytest.approx(len(fell) / len(logs)),
                "degraded": sum(log.status is Status.DEGRADED for log in logs),
                "added_cost_usd": total(call.cost_usd for call in failed),
                "mean_latency_ms": pytest.approx(mean(straight)),
                "fallback_latency_ms": pytest.approx(mean(slow)) if slow else None,
                "added_latency_ms": pytest.approx(mean(slow) - mean(straight)) if slow else None,
            }
        )
    assert await ask("fallbacks", tenant=tenant) == expected
    assert sum(row["added_cost_usd"] for row in expected) > 0


async def test_late_rows(ask: Ask, tenant: str) -> None:
    """By the last arrival of each row."""
    stored = {
        log.request_id: STORED_AT if place < AGAIN else STORED_AGAIN_AT for place, log in enumerate(LOGS)
    }
    limit_s = 100_000
    expected = []
    for day, logs in sorted(groups(logs_of(tenant), lambda log: log.accepted_at.date()).items()):
        delays = [(stored[log.request_id] - log.finished_at) / timedelta(seconds=1) for log in logs]
        late = sum(delay > limit_s for delay in delays)
        expected.append(
            {
                "day": day,
                "requests": len(logs),
                "late": late,
                "late_share": pytest.approx(late / len(logs)),
                "p50_delay_s": pytest.approx(quantile(0.5, delays)),
                "p99_delay_s": pytest.approx(quantile(0.99, delays)),
                "max_delay_s": pytest.approx(max(delays)),
            }
        )
    assert await ask("late_rows", tenant=tenant, late_s=limit_s) == expected
    assert 0 < sum(row["late"] for row in expected) < len(logs_of(tenant))


async def test_rows_that_came_twice(ask: Ask, tenant: str) -> None:
    """Counted by table; the views leave exactly these out."""
    again = [log for log in LOGS[AGAIN:] if tenant in ("", log.tenant)]
    logs = logs_of(tenant)
    once = {
        "requests": len(logs),
        "stages": sum(len(log.timings) for log in logs),
        "llm_calls": sum(len(log.calls) for log in logs),
    }
    twice = {
        "requests": len(again),
        "stages": sum(len(log.timings) for log in again),
        "llm_calls": sum(len(log.calls) for log in again),
    }
    assert await ask("duplicates", tenant=tenant) == [
        {
            "view": view,
            "stored": once[view] + twice[view],
            "duplicates": twice[view],
            "duplicate_share": pytest.approx(twice[view] / (once[view] + twice[view])),
        }
        for view in sorted(once)
    ]

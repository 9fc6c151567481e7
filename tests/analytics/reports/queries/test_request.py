"""Single requests: the latest ones, and one's whole story."""

from datetime import timedelta
from typing import Any

import pytest

from streams.events import RequestLog
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import TENANTS, logs_of

pytestmark = pytest.mark.integration

_ONE_MS = timedelta(milliseconds=1)


def with_most_calls() -> RequestLog:
    """The request that has the longest story."""
    return max(logs_of(""), key=lambda log: (len(log.calls), len(log.timings)))


@pytest.mark.parametrize("tenant", TENANTS)
async def test_latest_requests(ask: Ask, tenant: str) -> None:
    """The newest first, of one status or user where that is asked."""
    newest = sorted(logs_of(tenant), key=lambda log: log.accepted_at, reverse=True)
    ids = [row["request_id"] for row in await ask("latest_requests", tenant=tenant, limit=9)]
    assert ids == [log.request_id for log in newest[:9]]
    blocked = await ask("latest_requests", tenant=tenant, status="blocked", user_id="u-3", limit=1000)
    assert [row["request_id"] for row in blocked] == [
        log.request_id for log in newest if log.status.value == "blocked" and log.user_id == "u-3"
    ]


async def test_one_request(ask: Ask) -> None:
    """Every column is what its log record said."""
    for log in logs_of("")[:12]:
        [row] = await ask("request", request_id=log.request_id)
        said = {name: getattr(log, name) for name in row}
        assert row == {
            **said,
            "status": log.status.value,
            **{name: list(said[name]) for name in ("pii_types", "output_flags", "tools_used")},
        }


async def test_a_tenant_does_not_see_anothers_request(ask: Ask) -> None:
    """Not even by its id; and an id that nobody has is no error."""
    log = with_most_calls()
    stranger = {"acme": "globex", "globex": "acme"}[log.tenant]
    for name in ("request", "request_stages", "request_calls"):
        assert await ask(name, request_id=log.request_id, tenant=log.tenant)
        assert await ask(name, request_id=log.request_id, tenant=stranger) == []
        assert await ask(name, request_id="nobody's") == []


async def test_the_way_through_the_stages(ask: Ask) -> None:
    """In the order of time, counted from acceptance, to the microsecond."""
    log = with_most_calls()
    expected = []
    for timing in sorted(log.timings, key=lambda each: each.started_at):
        start = (timing.started_at - log.accepted_at) / _ONE_MS
        expected.append(
            {
                "tenant": log.tenant,
                "stage": timing.stage,
                "attempt": 1,
                "queued_ms": pytest.approx(start - timing.queue_us / 1000),
                "started_ms": pytest.approx(start),
                "ended_ms": pytest.approx(start + timing.work_us / 1000),
                "queue_ms": timing.queue_us / 1000,
                "work_ms": timing.work_us / 1000,
                "outcome": timing.outcome,
            }
        )
    assert await ask("request_stages", request_id=log.request_id) == expected


async def test_calls(ask: Ask) -> None:
    """Every attempt, with what it cost; together they cost what the request did."""
    log = with_most_calls()
    expected: list[dict[str, Any]] = [
        {
            "tenant": log.tenant,
            "call_id": call.call_id,
            "attempt": call.attempt,
            "provider": call.provider,
            "model": call.request_model,
            "response_model": call.response_model or "",
            "started_ms": pytest.approx((call.started_at - log.accepted_at) / _ONE_MS),
            "duration_ms": call.duration_us / 1000,
            "first_token_ms": None
            if call.time_to_first_token_us is None
            else call.time_to_first_token_us / 1000,
            "input_tokens": call.usage.input_tokens,
            "cached_tokens": call.usage.cached_tokens,
            "output_tokens": call.usage.output_tokens,
            "reasoning_tokens": call.usage.reasoning_tokens,
            "cache_write_tokens": call.usage.cache_write_tokens,
            "cache_write_1h_tokens": call.usage.cache_write_1h_tokens,
            "usage_estimated": call.usage.estimated,
            "service_tier": call.usage.service_tier,
            "long_context": call.long_context,
            "cost_usd": call.cost_usd,
            "finish_reason": call.finish_reason or "",
            "error": call.error,
            "shadow": call.shadow,
            "orphaned": call.orphaned,
        }
        for call in sorted(log.calls, key=lambda each: each.started_at)
    ]
    rows = await ask("request_calls", request_id=log.request_id)
    assert rows == expected
    assert sum(row["cost_usd"] for row in rows if not row["shadow"]) == log.cost_usd

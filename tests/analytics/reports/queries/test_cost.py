"""What was spent: every figure against the known requests, to the nano-dollar."""

from decimal import Decimal

import pytest

from streams.events import LlmCall, RequestLog
from streams.model_catalogue import PRICE_VERSION, PRICED_MODELS
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import (
    TENANTS,
    calls_of,
    cost,
    cut,
    groups,
    logs_of,
    quantile,
    successful,
    total,
)

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]


def tokens(logs: list[RequestLog]) -> dict[str, int]:
    return {
        "input_tokens": sum(log.input_tokens for log in logs),
        "output_tokens": sum(log.output_tokens for log in logs),
    }


async def test_totals(ask: Ask, tenant: str) -> None:
    """One row for all requests of the time, each once."""
    logs = logs_of(tenant)
    assert await ask("cost_totals", tenant=tenant) == [
        {
            "requests": len(logs),
            "successful": sum(map(successful, logs)),
            "cache_hits": sum(log.cache_hit for log in logs),
            "users": len({(log.tenant, log.user_id) for log in logs}),
            **tokens(logs),
            "cost_usd": cost(logs),
        }
    ]


async def test_by_day_and_model(ask: Ask, tenant: str) -> None:
    """Days in order, and within one the dearest model first."""
    expected = [
        {"day": day, "model": model, "requests": len(logs), **tokens(logs), "cost_usd": cost(logs)}
        for (day, model), logs in groups(
            logs_of(tenant), lambda log: (log.accepted_at.date(), log.model)
        ).items()
    ]
    expected.sort(key=lambda row: (row["day"], -row["cost_usd"], row["model"]))
    assert await ask("cost_by_day", tenant=tenant) == expected
    assert await ask("cost_by_day", tenant=tenant, limit=4) == expected[:4]


async def test_by_model(ask: Ask, tenant: str) -> None:
    """The model that answered, and how many of its requests were of use."""
    expected = [
        {
            "model": model,
            "requests": len(logs),
            "successful": sum(map(successful, logs)),
            **tokens(logs),
            "cost_usd": cost(logs),
        }
        for model, logs in groups(logs_of(tenant), lambda log: log.model).items()
    ]
    expected.sort(key=lambda row: (-row["cost_usd"], row["model"]))
    assert await ask("cost_by_model", tenant=tenant) == expected


async def test_top_users(ask: Ask, tenant: str) -> None:
    """Two tenants' users of the same name are two users."""
    expected = [
        {
            "tenant": owner,
            "user_id": user,
            "requests": len(logs),
            "successful": sum(map(successful, logs)),
            "errors": sum(log.error is not None for log in logs),
            **tokens(logs),
            "cost_usd": cost(logs),
            "mean_cost_usd": cut(cost(logs), len(logs)),
        }
        for (owner, user), logs in groups(logs_of(tenant), lambda log: (log.tenant, log.user_id)).items()
    ]
    expected.sort(key=lambda row: (-row["cost_usd"], row["tenant"], row["user_id"]))
    assert await ask("cost_by_user", tenant=tenant, limit="3") == expected[:3]
    assert await ask("cost_by_user", tenant=tenant, limit=1000) == expected


async def test_by_tenant(ask: Ask, tenant: str) -> None:
    """The shares are of everything that is asked about."""
    everything = cost(logs_of(tenant))
    expected = [
        {
            "tenant": owner,
            "requests": len(logs),
            "users": len({log.user_id for log in logs}),
            **tokens(logs),
            "cost_usd": cost(logs),
            "cost_share": pytest.approx(float(cost(logs) / everything)),
        }
        for owner, logs in groups(logs_of(tenant), lambda log: log.tenant).items()
    ]
    expected.sort(key=lambda row: -row["cost_usd"])
    assert await ask("cost_by_tenant", tenant=tenant) == expected


async def test_by_prompt_version(ask: Ask, tenant: str) -> None:
    """The mean is cut to nano-dollars, never rounded through a float."""
    expected = [
        {
            "prompt_template": template,
            "prompt_version": version,
            "requests": len(logs),
            "cache_hits": sum(log.cache_hit for log in logs),
            **tokens(logs),
            "cost_usd": cost(logs),
            "mean_cost_usd": cut(cost(logs), len(logs)),
        }
        for (template, version), logs in groups(
            logs_of(tenant), lambda log: (log.prompt_template, log.prompt_version)
        ).items()
    ]
    expected.sort(key=lambda row: -row["cost_usd"])
    assert await ask("cost_by_prompt", tenant=tenant) == expected


async def test_spread_of_a_requests_cost(ask: Ask, tenant: str) -> None:
    """Quantiles are amounts that a request did cost."""
    expected = []
    for model, logs in groups(logs_of(tenant), lambda log: log.model).items():
        amounts = [log.cost_usd for log in logs]
        expected.append(
            {
                "model": model,
                "requests": len(logs),
                "mean_cost_usd": cut(total(amounts), len(logs)),
                "p50_cost_usd": quantile(0.5, amounts),
                "p95_cost_usd": quantile(0.95, amounts),
                "p99_cost_usd": quantile(0.99, amounts),
                "max_cost_usd": max(amounts),
            }
        )
    expected.sort(key=lambda row: (-row["p95_cost_usd"], row["model"]))
    assert await ask("cost_per_request", tenant=tenant) == expected


async def test_cost_of_a_successful_reply(ask: Ask, tenant: str) -> None:
    """The successful ones carry what the others cost."""
    expected = []
    for (template, version), logs in groups(
        logs_of(tenant), lambda log: (log.prompt_template, log.prompt_version)
    ).items():
        good = [log for log in logs if successful(log)]
        expected.append(
            {
                "prompt_template": template,
                "prompt_version": version,
                "requests": len(logs),
                "successful": len(good),
                "cost_usd": cost(logs),
                "wasted_usd": cost(logs) - cost(good),
                "cost_per_success_usd": cut(cost(logs), len(good)),
            }
        )
    expected.sort(key=lambda row: -row["cost_usd"])
    assert await ask("cost_per_success", tenant=tenant) == expected
    assert any(row["wasted_usd"] for row in expected)


def parts_of(call: LlmCall) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """What a call's input, cached input, cache writes and output cost, if its prices are known."""
    if call.price_version != PRICE_VERSION:
        return Decimal(0), Decimal(0), Decimal(0), Decimal(0)
    rates = PRICED_MODELS[call.request_model].rates(call.usage.service_tier, long_context=call.long_context)
    usage, hourly = call.usage, call.usage.cache_write_1h_tokens
    return (
        (usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens) * rates.input_usd / 1_000_000,
        usage.cached_tokens * rates.cached_input_usd / 1_000_000,
        (usage.cache_write_tokens - hourly) * rates.cache_write_usd / 1_000_000
        + hourly * rates.cache_write_1h_usd / 1_000_000,
        usage.output_tokens * rates.output_usd / 1_000_000,
    )


async def test_input_cached_and_output_cost(ask: Ask, tenant: str) -> None:
    """The parts add up to the whole; what was priced otherwise is apart."""
    expected = []
    charged = [call for _, call in calls_of(tenant) if not call.shadow]
    for model, calls in groups(charged, lambda call: call.request_model).items():
        fresh, cached, kept, written = (total(part) for part in zip(*map(parts_of, calls), strict=True))
        whole = total(call.cost_usd for call in calls)
        expected.append(
            {
                "model": model,
                "calls": len(calls),
                "input_tokens": sum(
                    call.usage.input_tokens - call.usage.cached_tokens - call.usage.cache_write_tokens
                    for call in calls
                ),
                "cached_tokens": sum(call.usage.cached_tokens for call in calls),
                "cache_write_tokens": sum(call.usage.cache_write_tokens for call in calls),
                "output_tokens": sum(call.usage.output_tokens for call in calls),
                "input_cost_usd": fresh,
                "cached_cost_usd": cached,
                "cache_write_cost_usd": kept,
                "output_cost_usd": written,
                "other_cost_usd": whole - fresh - cached - kept - written,
                "cost_usd": whole,
            }
        )
    expected.sort(key=lambda row: -row["cost_usd"])
    rows = await ask("cost_split", tenant=tenant)
    assert rows == expected
    assert any(row["cache_write_cost_usd"] for row in rows)
    [embeddings] = [row for row in rows if row["model"] == "text-embedding-3-small"]
    assert embeddings["input_cost_usd"] == embeddings["cost_usd"] > embeddings["other_cost_usd"] == 0
    assert total(row["cost_usd"] for row in rows) == cost(logs_of(tenant))


async def test_calls_by_model(ask: Ask, tenant: str) -> None:
    """What was charged for is what the requests cost; shadow calls are beside it."""
    expected = []
    for (provider, model), pairs in groups(
        calls_of(tenant), lambda pair: (pair[1].provider, pair[1].request_model)
    ).items():
        calls = [call for _, call in pairs]
        expected.append(
            {
                "provider": provider,
                "model": model,
                "calls": len(calls),
                "failed": sum(call.error is not None and not call.orphaned for call in calls),
                "orphaned": sum(call.orphaned for call in calls),
                "shadow": sum(call.shadow for call in calls),
                "input_tokens": sum(call.usage.input_tokens for call in calls),
                "output_tokens": sum(call.usage.output_tokens for call in calls),
                "cost_usd": total(call.cost_usd for call in calls if not call.shadow),
                "orphaned_cost_usd": total(call.cost_usd for call in calls if call.orphaned),
                "shadow_cost_usd": total(call.cost_usd for call in calls if call.shadow),
            }
        )
    expected.sort(key=lambda row: -row["cost_usd"])
    rows = await ask("calls_by_model", tenant=tenant)
    assert rows == expected
    assert total(row["cost_usd"] for row in rows) == cost(logs_of(tenant))

"""How long things took: against the known requests, calls and stages."""

from typing import Any

import pytest

from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import TENANTS, calls_of, groups, logs_of, mean, quantile

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]

#: What a sketch may be off by, by its definition; and a little for the place that it looks at.
_SKETCH_ERROR = 0.0101


def within_a_sketch(level: float, values: list[int]) -> Any:
    """Return what compares equal to any value that the sketch may give for this quantile."""
    ordered = sorted(values)
    place = int(level * (len(ordered) - 1))
    low, high = ordered[place], ordered[min(place + 1, len(ordered) - 1)]

    class Between:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, float) and low * (1 - _SKETCH_ERROR) <= other * 1000 <= high * (
                1 + _SKETCH_ERROR
            )

        def __repr__(self) -> str:
            return f"{low / 1000}..{high / 1000} ±1 %"

        __hash__ = None  # type: ignore[assignment]  # it equals many values

    return Between()


async def test_by_stage(ask: Ask, tenant: str) -> None:
    """Executions exactly, percentiles within 1 %."""
    timings = [timing for log in logs_of(tenant) for timing in log.timings]
    rows = await ask("latency_by_stage", tenant=tenant)
    expected = {}
    for stage, items in groups(timings, lambda timing: timing.stage).items():
        work, queue = [item.work_us for item in items], [item.queue_us for item in items]
        expected[stage] = {
            "stage": stage,
            "executions": len(items),
            "repeats": 0,
            "p50_work_ms": within_a_sketch(0.5, work),
            "p95_work_ms": within_a_sketch(0.95, work),
            "p99_work_ms": within_a_sketch(0.99, work),
            "p50_queue_ms": within_a_sketch(0.5, queue),
            "p95_queue_ms": within_a_sketch(0.95, queue),
            "p99_queue_ms": within_a_sketch(0.99, queue),
        }
    assert {row["stage"]: row for row in rows} == expected
    assert [row["p95_work_ms"] for row in rows] == sorted((row["p95_work_ms"] for row in rows), reverse=True)


async def test_waiting_against_working(ask: Ask, tenant: str) -> None:
    """Sums are exact to the microsecond, although they come from a rollup."""
    timings = [timing for log in logs_of(tenant) for timing in log.timings]
    expected = []
    for stage, items in groups(timings, lambda timing: timing.stage).items():
        queue, work = sum(item.queue_us for item in items), sum(item.work_us for item in items)
        expected.append(
            {
                "stage": stage,
                "executions": len(items),
                "queue_s": pytest.approx(queue / 1e6, rel=1e-12),
                "work_s": pytest.approx(work / 1e6, rel=1e-12),
                "mean_queue_ms": pytest.approx(queue / len(items) / 1000),
                "mean_work_ms": pytest.approx(work / len(items) / 1000),
                "queue_share": pytest.approx(queue / (queue + work)),
            }
        )
    rows = await ask("queue_vs_work", tenant=tenant)
    assert sorted(rows, key=lambda row: row["stage"]) == sorted(expected, key=lambda row: row["stage"])
    assert [row["stage"] for row in rows][-1] in ("guardrail", "cache", "llm", "cost")


async def test_by_model(ask: Ask, tenant: str) -> None:
    """Without answers from the cache, and without requests that no model answered."""
    asked = [log for log in logs_of(tenant) if log.model and not log.cache_hit]
    expected = []
    for model, logs in groups(asked, lambda log: log.model).items():
        times = [log.latency_ms for log in logs]
        expected.append(
            {
                "model": model,
                "requests": len(times),
                "mean_latency_ms": pytest.approx(mean(times)),
                "p50_latency_ms": quantile(0.5, times),
                "p95_latency_ms": quantile(0.95, times),
                "p99_latency_ms": quantile(0.99, times),
                "max_latency_ms": max(times),
            }
        )
    expected.sort(key=lambda row: -row["p95_latency_ms"])
    assert await ask("latency_by_model", tenant=tenant) == expected


async def test_by_outcome(ask: Ask, tenant: str) -> None:
    """Every way in which a request can end, with its share."""
    everything = logs_of(tenant)
    expected = []
    for status, logs in groups(everything, lambda log: log.status.value).items():
        times = [log.latency_ms for log in logs]
        expected.append(
            {
                "status": status,
                "requests": len(times),
                "request_share": pytest.approx(len(times) / len(everything)),
                "p50_latency_ms": quantile(0.5, times),
                "p95_latency_ms": quantile(0.95, times),
                "p99_latency_ms": quantile(0.99, times),
                "max_latency_ms": max(times),
            }
        )
    expected.sort(key=lambda row: (-row["requests"], row["status"]))
    assert await ask("latency_by_status", tenant=tenant) == expected


async def test_time_to_first_token(ask: Ask, tenant: str) -> None:
    """Of calls that had a first token, whatever became of them later; not of shadow calls."""
    timed = [
        call for _, call in calls_of(tenant) if call.time_to_first_token_us is not None and not call.shadow
    ]
    expected = []
    for (provider, model), calls in groups(timed, lambda call: (call.provider, call.request_model)).items():
        times = [call.time_to_first_token_us for call in calls]
        expected.append(
            {
                "provider": provider,
                "model": model,
                "calls": len(calls),
                "p50_first_token_ms": quantile(0.5, times) / 1000,
                "p95_first_token_ms": quantile(0.95, times) / 1000,
                "p99_first_token_ms": quantile(0.99, times) / 1000,
            }
        )
    expected.sort(key=lambda row: -row["p95_first_token_ms"])
    assert await ask("time_to_first_token", tenant=tenant) == expected


async def test_output_speed(ask: Ask, tenant: str) -> None:
    """Tokens after the first one, by the time after the first one."""
    measured = [
        (call, call.duration_us - call.time_to_first_token_us, call.usage.output_tokens - 1)
        for _, call in calls_of(tenant)
        if call.error is None
        and not call.shadow
        and call.usage.output_tokens > 1
        and call.time_to_first_token_us is not None
        and call.time_to_first_token_us < call.duration_us
    ]
    expected = []
    for (provider, model), items in groups(
        measured, lambda item: (item[0].provider, item[0].request_model)
    ).items():
        written, time_us = sum(item[2] for item in items), sum(item[1] for item in items)
        speeds = [item[2] * 1e6 / item[1] for item in items]
        expected.append(
            {
                "provider": provider,
                "model": model,
                "calls": len(items),
                "output_tokens": written,
                "tokens_per_s": pytest.approx(written * 1e6 / time_us),
                "p05_tokens_per_s": pytest.approx(quantile(0.05, speeds)),
                "p50_tokens_per_s": pytest.approx(quantile(0.5, speeds)),
            }
        )
    rows = await ask("output_speed", tenant=tenant)
    assert sorted(rows, key=lambda row: row["model"]) == sorted(expected, key=lambda row: row["model"])
    assert [row["tokens_per_s"] for row in rows] == sorted(row["tokens_per_s"] for row in rows)


async def test_slowest_users(ask: Ask, tenant: str) -> None:
    """Users with too few requests are left out."""
    enough = 14
    expected = []
    for (owner, user), logs in groups(logs_of(tenant), lambda log: (log.tenant, log.user_id)).items():
        times = [log.latency_ms for log in logs]
        if len(times) >= enough:
            expected.append(
                {
                    "tenant": owner,
                    "user_id": user,
                    "requests": len(times),
                    "p50_latency_ms": quantile(0.5, times),
                    "p95_latency_ms": quantile(0.95, times),
                    "max_latency_ms": max(times),
                }
            )
    expected.sort(key=lambda row: -row["p95_latency_ms"])
    assert await ask("slowest_users", tenant=tenant, min_requests=enough, limit=4) == expected[:4]


async def test_slowest_requests(ask: Ask, tenant: str) -> None:
    """The slowest first, as many as are asked for."""
    slowest = sorted(logs_of(tenant), key=lambda log: -log.latency_ms)[:7]
    names = ("accepted_at", "request_id", "tenant", "user_id", "model", "latency_ms", "cost_usd")
    rows = await ask("slowest_requests", tenant=tenant, limit=7)
    assert [{name: row[name] for name in names} for row in rows] == [
        {name: getattr(log, name) for name in names} for log in slowest
    ]
    assert [row["status"] for row in rows] == [log.status.value for log in slowest]

"""The page's queries over rollups and rows: for any window and filters what Python counts."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from streams.events import Status
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import LOGS, calls_of, cost, cut, groups, successful, total
from tests.analytics.reports.queries.page_cases import (
    CASES,
    KEYS,
    SHORT,
    Case,
    Logs,
    count,
    each_case,
    few_cases,
    latencies,
    saved,
    share,
)
from tests.analytics.reports.queries.test_latency import within_a_sketch

pytestmark = pytest.mark.integration
_FAILURES = (Status.FAILED, Status.DEGRADED)
_LOOKUPS = ("exact", "semantic", "miss")


@each_case
async def test_totals(ask: Ask, case: Case) -> None:
    """One row for the window; sums to the last digit, percentiles within 1 %."""
    logs = case.logs
    errors, lookups = count(logs, *_FAILURES), sum(log.cache_kind in _LOOKUPS for log in logs)
    hits, fallbacks = sum(log.cache_hit for log in logs), sum(log.fallback for log in logs)
    percentiles = latencies(logs, 50, 95, 99) if logs else dict.fromkeys(latencies(LOGS, 50, 95, 99))  # type: ignore[arg-type]
    assert await ask("traffic_totals", **case.given) == [
        {
            "requests": len(logs),
            "successful": sum(map(successful, logs)),
            "failed": count(logs, Status.FAILED),
            "degraded": count(logs, Status.DEGRADED),
            "errors": errors,
            "error_share": share(errors, len(logs)),
            "blocked": count(logs, Status.BLOCKED),
            "block_share": share(count(logs, Status.BLOCKED), len(logs)),
            "cancelled": count(logs, Status.CANCELLED),
            "fallbacks": fallbacks,
            "fallback_share": share(fallbacks, len(logs)),
            "cache_lookups": lookups,
            "cache_hits": hits,
            "hit_share": share(hits, lookups),
            "saved_usd": saved(logs),
            "input_tokens": sum(log.input_tokens for log in logs),
            "output_tokens": sum(log.output_tokens for log in logs),
            "cached_tokens": sum(log.cached_tokens for log in logs),
            "cost_usd": cost(logs),
            "mean_cost_usd": cut(cost(logs), len(logs)) if logs else None,
            **percentiles,
        }
    ]


def interval(at: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)


@pytest.mark.parametrize("bucket_s", [90, 3600, 7_000, 86_400])
@few_cases
async def test_series(ask: Ask, case: Case, bucket_s: int) -> None:
    """By intervals; those of a long window are whole hours, those of a short one not even whole minutes."""
    hourly = (case.until - case.since).total_seconds() > 6 * 3600
    step_s = -(-bucket_s // 3600) * 3600 if hourly else bucket_s
    expected = [
        {
            "time": time,
            "requests": len(logs),
            "answered": count(logs, Status.ANSWERED),
            "cached": count(logs, Status.CACHED),
            "degraded": count(logs, Status.DEGRADED),
            "failed": count(logs, Status.FAILED),
            "blocked": count(logs, Status.BLOCKED),
            "cancelled": count(logs, Status.CANCELLED),
            "fallbacks": sum(log.fallback for log in logs),
            "cache_hits": sum(log.cache_hit for log in logs),
            "cost_usd": cost(logs),
            **latencies(logs, 50, 95, 99),
        }
        for time, logs in sorted(groups(case.logs, lambda log: interval(log.accepted_at, step_s)).items())
    ]
    assert await ask("traffic_series", **case.given, bucket_s=bucket_s) == expected


async def test_a_short_window_may_be_cut_into_minutes(ask: Ask) -> None:
    """Its rows are read themselves."""
    rows = await ask("traffic_series", **SHORT.given, bucket_s=60)
    found = {row["time"]: row["requests"] for row in rows}
    assert found == {
        time: len(logs)
        for time, logs in groups(SHORT.logs, lambda log: interval(log.accepted_at, 60)).items()
    }
    assert len(found) > 6


@pytest.mark.parametrize("by", KEYS)
@few_cases
async def test_spend_by(ask: Ask, case: Case, by: str) -> None:
    """The dearest first, days in order."""
    expected = [
        {
            "key": key,
            "detail": detail,
            "requests": len(logs),
            "successful": sum(map(successful, logs)),
            "cache_hits": sum(log.cache_hit for log in logs),
            "input_tokens": sum(log.input_tokens for log in logs),
            "output_tokens": sum(log.output_tokens for log in logs),
            "cost_usd": cost(logs),
            "mean_cost_usd": cut(cost(logs), len(logs)),
        }
        for (key, detail), logs in groups(case.logs, KEYS[by]).items()
    ]
    expected.sort(
        key=lambda row: (row["key"] if by == "day" else "", -row["cost_usd"], row["key"], row["detail"])
    )
    assert await ask("cost_by", **case.given, by=by) == expected
    assert await ask("cost_by", **case.given, by=by, limit=2) == expected[:2]


@pytest.mark.parametrize("by", [by for by in KEYS if by != "day"])
@few_cases
async def test_spend_over_time(ask: Ask, case: Case, by: str) -> None:
    """By intervals of six hours and one of the keys; it adds up to the spend of the window."""
    rows = await ask("cost_series", **case.given, by=by, bucket_s=21_600)
    found = {(row["time"], row["key"], row["detail"]): (row["requests"], row["cost_usd"]) for row in rows}
    assert found == {
        key: (len(logs), cost(logs))
        for key, logs in groups(
            case.logs, lambda log: (interval(log.accepted_at, 21_600), *KEYS[by](log))
        ).items()
    }
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert total(row["cost_usd"] for row in rows) == cost(case.logs)


@each_case
async def test_spend_by_user(ask: Ask, case: Case) -> None:
    """Two tenants' users of one name are two users; days that are cut count as far as they are in."""
    expected = [
        {
            "tenant": tenant,
            "user_id": user,
            "requests": len(logs),
            "successful": sum(map(successful, logs)),
            "errors": sum(log.error is not None for log in logs),
            "input_tokens": sum(log.input_tokens for log in logs),
            "output_tokens": sum(log.output_tokens for log in logs),
            "cost_usd": cost(logs),
            "mean_cost_usd": cut(cost(logs), len(logs)),
        }
        for (tenant, user), logs in groups(
            filter(case.within, LOGS), lambda log: (log.tenant, log.user_id)
        ).items()
    ]
    expected.sort(key=lambda row: (-row["cost_usd"], row["tenant"], row["user_id"]))
    assert await ask("cost_by_user", **case.window, source="rollups") == expected[:20]


@each_case
async def test_stages(ask: Ask, case: Case) -> None:
    """Executions exactly, waits and work within 1 %; of a model those of its requests."""
    model = case.filters.get("model", "")
    logs = [log for log in LOGS if case.within(log) and model in ("", log.model)]
    expected = {stage: _times(items) for stage, items in _timings(logs, lambda _, stage: stage).items()}
    rows = await ask("latency_by_stage", **case.window, model=model)
    assert {row.pop("stage"): row for row in rows} == {
        stage: {"executions": row.pop("executions"), "repeats": 0, **row} for stage, row in expected.items()
    }
    longest = [row["p95_work_ms"] for row in rows]
    assert longest == sorted(longest, reverse=True)


@each_case
async def test_stages_over_time(ask: Ask, case: Case) -> None:
    """The same by intervals."""
    await _check_stages_over_time(ask, case, bucket_s=21_600, step_s=21_600)


async def test_stages_over_time_are_of_whole_minutes(ask: Ask) -> None:
    """An interval of half a minute more is rounded up, and holds its own executions alone."""
    await _check_stages_over_time(ask, SHORT, bucket_s=90, step_s=120)


async def _check_stages_over_time(ask: Ask, case: Case, *, bucket_s: int, step_s: int) -> None:
    model = case.filters.get("model", "")
    logs = [log for log in LOGS if case.within(log) and model in ("", log.model)]
    expected = {
        key: _times(items)
        for key, items in _timings(logs, lambda at, stage: (interval(at, step_s), stage)).items()
    }
    rows = await ask("stage_series", **case.window, model=model, bucket_s=bucket_s)
    assert [(row["time"], row["stage"]) for row in rows] == sorted(expected)
    assert {(row.pop("time"), row.pop("stage")): row for row in rows} == expected


def _timings(logs: Logs, key: Callable[[datetime, str], Any]) -> dict[Any, list[Any]]:
    pairs = [(log.accepted_at, timing) for log in logs for timing in log.timings]
    found = groups(pairs, lambda pair: key(pair[0], pair[1].stage))
    return {each: [timing for _, timing in items] for each, items in found.items()}


def _times(timings: list[Any]) -> dict[str, Any]:
    queue, work = ([getattr(each, name) for each in timings] for name in ("queue_us", "work_us"))
    return {
        "executions": len(timings),
        **{f"p{level}_queue_ms": within_a_sketch(level / 100, queue) for level in (50, 95, 99)},
        **{f"p{level}_work_ms": within_a_sketch(level / 100, work) for level in (50, 95, 99)},
    }


def test_the_cases_are_worth_asking() -> None:
    """Every one has requests, and together they have every kind of call."""
    assert all(case.logs for case in CASES)
    assert {call.shadow for _, call in calls_of("")} == {True, False}

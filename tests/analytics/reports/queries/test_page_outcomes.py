"""What the page asks about outcomes: guardrails, cache, prompts, experiments, scores, errors, calls."""

from typing import Any

import pytest

from streams.events import Status
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import cost, cut, groups, successful, total
from tests.analytics.reports.queries.page_cases import (
    KEYS,
    Case,
    Logs,
    count,
    each_case,
    latencies,
    saved,
    share,
)
from tests.analytics.reports.queries.test_latency import within_a_sketch

pytestmark = pytest.mark.integration

_FAILURES = (Status.FAILED, Status.DEGRADED)


@each_case
async def test_guardrails(ask: Ask, case: Case) -> None:
    """By side and rule, against all requests."""
    logs = case.logs
    verdicts = [("input", log.guardrail_input_rule) for log in logs if not log.guardrail_input_pass]
    verdicts += [("output", log.guardrail_output_rule) for log in logs if not log.guardrail_output_pass]
    expected = [
        {"side": side, "rule": rule, "blocked": len(found), "request_share": share(len(found), len(logs))}
        for (side, rule), found in groups(verdicts, lambda verdict: verdict).items()
    ]
    expected.sort(key=lambda row: (-row["blocked"], row["side"], row["rule"]))
    assert await ask("blocks_by_rule", **case.given) == expected


@each_case
async def test_cache(ask: Ask, case: Case) -> None:
    """By kind, with what hits of the kind save."""
    whole = case.logs
    expected = [
        {
            "kind": kind,
            "requests": len(logs),
            "request_share": share(len(logs), len(whole)),
            "cost_usd": cost(logs),
            "saved_usd": _saved_by(whole, kind),
            **latencies(logs, 50, 95),
        }
        for kind, logs in groups(whole, lambda log: log.cache_kind).items()
    ]
    expected.sort(key=lambda row: (-row["requests"], row["kind"]))
    assert await ask("cache_outcomes", **case.given) == expected


def _saved_by(whole: Logs, kind: str) -> Any:
    if kind not in ("exact", "semantic"):
        return None
    prompts = {
        (log.tenant, log.prompt_template, log.prompt_version) for log in whole if log.cache_kind == kind
    }
    near = [log for log in whole if (log.tenant, log.prompt_template, log.prompt_version) in prompts]
    return saved(near, lambda log: log.cache_kind == kind)


def _outcomes(logs: Logs) -> dict[str, Any]:
    errors = count(logs, *_FAILURES)
    return {
        "requests": len(logs),
        "successful": sum(map(successful, logs)),
        "errors": errors,
        "error_share": share(errors, len(logs)),
        "blocked": count(logs, Status.BLOCKED),
        "hit_share": share(sum(log.cache_hit for log in logs), len(logs)),
        "cost_usd": cost(logs),
        "mean_cost_usd": cut(cost(logs), len(logs)),
        **latencies(logs, 50, 95),
    }


@each_case
async def test_prompts(ask: Ask, case: Case) -> None:
    """Each version of each template; the most used first."""
    expected = [
        {"prompt_template": template, "prompt_version": version, **_outcomes(logs)}
        for (template, version), logs in groups(case.logs, KEYS["prompt"]).items()
    ]
    expected.sort(key=lambda row: (-row["requests"], row["prompt_template"], row["prompt_version"]))
    assert await ask("prompt_versions", **case.given) == expected


@each_case
async def test_experiments(ask: Ask, case: Case) -> None:
    """Each arm; requests in no experiment are not in it."""
    found = groups([log for log in case.logs if log.experiment], KEYS["experiment"])
    expected = [
        {"experiment": experiment, "arm": arm, **_outcomes(logs)}
        for (experiment, arm), logs in sorted(found.items())
    ]
    assert await ask("experiment_outcomes", **case.given) == expected


@each_case
async def test_quality(ask: Ask, case: Case) -> None:
    """Corrected scores, by what they are of."""
    found = groups(
        case.scores,
        lambda score: (
            *(score.name, score.source, score.log.prompt_template, score.log.prompt_version),
            *(score.log.experiment, score.log.arm),
        ),
    )
    names = ("score", "source", "prompt_template", "prompt_version", "experiment", "arm")
    expected = []
    for key, scores in sorted(found.items()):
        values = [score.value for score in scores]
        figures = {
            "scores": len(values),
            "mean": cut(total(values), len(values)),
            "least": min(values),
            "most": max(values),
        }
        expected.append(dict(zip(names, key, strict=True)) | figures)
    assert await ask("scores_by_arm", **case.given) == expected


@each_case
async def test_errors(ask: Ask, case: Case) -> None:
    """By how requests ended and why."""
    logs = case.logs
    expected = [
        {
            "status": status,
            "error_code": code,
            "requests": len(found),
            "request_share": share(len(found), len(logs)),
            "users": None,
            "cost_usd": cost(found),
        }
        for (status, code), found in groups(logs, lambda log: (log.status, log.error_code)).items()
        if status not in (Status.ANSWERED, Status.CACHED)
    ]
    expected.sort(key=lambda row: (-row["requests"], row["status"], row["error_code"]))
    assert await ask("failures", **case.given, source="rollups") == expected


@each_case
async def test_calls(ask: Ask, case: Case) -> None:
    """By the model that was asked; shadow calls stand apart."""
    model = case.filters.get("model", "")
    asked = [call for call in case.calls if model in ("", call.request_model)]
    expected = []
    for (provider, name), every in groups(asked, lambda call: (call.provider, call.request_model)).items():
        calls = [call for call in every if not call.shadow]
        failed = sum(call.error is not None and not call.orphaned for call in calls)
        lost = sum(call.orphaned for call in calls)
        expected.append(
            {
                "provider": provider,
                "model": name,
                "calls": len(calls),
                "failed": failed,
                "error_share": share(failed + lost, len(calls)),
                "orphaned": lost,
                "retries": sum(call.attempt > 1 for call in calls),
                "shadow": len(every) - len(calls),
                "cost_usd": total(call.cost_usd for call in calls),
                **_durations("duration", [call.duration_us for call in calls]),
                **_durations(
                    "first_token",
                    [
                        call.time_to_first_token_us
                        for call in calls
                        if call.time_to_first_token_us is not None
                    ],
                ),
            }
        )
    expected.sort(key=lambda row: (-row["cost_usd"], row["provider"], row["model"]))
    assert await ask("provider_calls", **case.window, model=model) == expected


def _durations(name: str, times: list[int]) -> dict[str, Any]:
    return {
        f"p{level}_{name}_ms": within_a_sketch(level / 100, times) if times else None for level in (50, 95)
    }


@each_case
async def test_call_errors(ask: Ask, case: Case) -> None:
    """Of the calls to each model, those with a fault by its type."""
    calls = [call for call in case.calls if not call.shadow]
    to_model = groups(calls, lambda call: (call.provider, call.request_model))
    faults = groups(
        [call for call in calls if call.error is not None],
        lambda call: (call.provider, call.request_model, call.error),
    )
    expected = []
    for (provider, model, error), failed in faults.items():
        whole = len(to_model[provider, model])
        row = {"provider": provider, "model": model, "error": error, "failed": len(failed), "calls": whole}
        expected.append(
            row
            | {
                "error_share": share(len(failed), whole),
                "cost_usd": total(call.cost_usd for call in failed),
            }
        )
    expected.sort(key=lambda row: (-row["failed"], row["provider"], row["model"], row["error"]))
    assert await ask("errors_by_provider", **case.window, source="rollups") == expected
    chosen = [row for row in expected if row["model"] == "gpt-4o"]
    assert await ask("errors_by_provider", **case.window, source="rollups", model="gpt-4o") == chosen


@each_case
async def test_fallbacks(ask: Ask, case: Case) -> None:
    """By the model that answered in the end."""
    asked = [log for log in case.logs if log.cache_kind in ("miss", "bypass") and log.model]
    expected = []
    for model, logs in groups(asked, lambda log: log.model).items():
        fell = sum(log.fallback for log in logs)
        row = {"model": model, "requests": len(logs), "fallbacks": fell}
        expected.append(row | {"fallback_share": share(fell, len(logs)), "cost_usd": cost(logs)})
    expected.sort(key=lambda row: (-row["fallbacks"], -row["requests"], row["model"]))
    assert await ask("fallbacks_by_model", **case.given) == expected


@each_case
async def test_filters(ask: Ask, case: Case) -> None:
    """What there is to choose from, the most used first, without what has no name."""
    rows = await ask("filter_values", **case.given)
    found = {(row["kind"], row["value"], row["detail"]): row["requests"] for row in rows}
    expected: dict[tuple[str, str, str], int] = {}
    for kind in ("tenant", "model", "prompt_template", "prompt_version", "experiment"):
        for log in case.logs:
            detail = log.prompt_template if kind == "prompt_version" else ""
            key = (kind, getattr(log, kind), detail)
            if key[1]:
                expected[key] = expected.get(key, 0) + 1
    assert found == expected
    assert [(row["kind"], -row["requests"]) for row in rows] == sorted(
        (row["kind"], -row["requests"]) for row in rows
    )


async def test_a_filter_list_is_bounded_kind_by_kind(ask: Ask) -> None:
    """Many models do not crowd out the tenants."""
    rows = await ask("filter_values", limit=1)
    assert len(rows) == len({row["kind"] for row in rows}) == 5

"""Scores, experiments and shadow calls."""

from decimal import Decimal
from statistics import stdev

import pytest

from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import (
    TENANTS,
    Score,
    cost,
    cut,
    groups,
    logs_of,
    mean,
    quantile,
    scores_of,
    successful,
    total,
)

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]


def deviation(values: list[float]) -> object:
    """What a standard deviation must be; of fewer than two there is none."""
    return pytest.approx(stdev(values)) if len(values) > 1 else None


async def test_scores_by_version_and_day(ask: Ask, tenant: str) -> None:
    """On the day of the request, however late the score came; a corrected one counts once."""

    def key(score: Score) -> tuple[object, ...]:
        log = score.log
        return (log.accepted_at.date(), score.name, score.source, log.prompt_template, log.prompt_version)

    expected = []
    for (day, name, source, template, version), scores in sorted(groups(scores_of(tenant), key).items()):
        values = [score.value for score in scores]
        expected.append(
            {
                "day": day,
                "score": name,
                "source": source,
                "prompt_template": template,
                "prompt_version": version,
                "scores": len(values),
                "requests": len({(score.log.tenant, score.log.request_id) for score in scores}),
                "mean_score": cut(total(values), len(values)),
                "sd_score": deviation([float(value) for value in values]),
                "min_score": min(values),
                "max_score": max(values),
            }
        )
    assert await ask("scores_by_version", tenant=tenant) == expected
    assert await ask("scores_by_version", tenant=tenant, score="tone") == [
        row for row in expected if row["score"] == "tone"
    ]


async def test_judges_against_people(ask: Ask, tenant: str) -> None:
    """Only requests that both have judged in the same respect."""
    threshold = Decimal("0.5")
    people = {
        (score.log.request_id, score.name): score.value
        for score in scores_of(tenant)
        if score.source == "human"
    }
    pairs = [
        (score.name, score.scorer, score.value, people[score.log.request_id, score.name])
        for score in scores_of(tenant)
        if score.source == "judge" and (score.log.request_id, score.name) in people
    ]
    expected = []
    for (name, judge), items in sorted(groups(pairs, lambda item: item[:2]).items()):
        agreed = sum((item[2] >= threshold) == (item[3] >= threshold) for item in items)
        difference = total(item[2] - item[3] for item in items)
        expected.append(
            {
                "score": name,
                "judge": judge,
                "requests": len(items),
                "agreed": agreed,
                "agreement_share": pytest.approx(agreed / len(items)),
                "judge_good": sum(item[2] >= threshold for item in items),
                "human_good": sum(item[3] >= threshold for item in items),
                "mean_difference": cut(difference, len(items)),
            }
        )
    assert await ask("judge_agreement", tenant=tenant) == expected
    assert expected


async def test_arms_of_experiments(ask: Ask, tenant: str) -> None:
    """Cost, latency and outcome, with what an interval needs."""
    inside = [log for log in logs_of(tenant) if log.experiment]
    expected = []
    for (experiment, arm, version), logs in sorted(
        groups(inside, lambda log: (log.experiment, log.arm, log.prompt_version)).items()
    ):
        times = [log.latency_ms for log in logs]
        expected.append(
            {
                "experiment": experiment,
                "arm": arm,
                "prompt_version": version,
                "requests": len(logs),
                "users": len({(log.tenant, log.user_id) for log in logs}),
                "success_share": pytest.approx(sum(map(successful, logs)) / len(logs)),
                "hit_share": pytest.approx(sum(log.cache_hit for log in logs) / len(logs)),
                "cost_usd": cost(logs),
                "mean_cost_usd": cut(cost(logs), len(logs)),
                "sd_cost_usd": deviation([float(log.cost_usd) for log in logs]),
                "mean_latency_ms": pytest.approx(mean(times)),
                "sd_latency_ms": deviation(times),
                "p50_latency_ms": quantile(0.5, times),
                "p95_latency_ms": quantile(0.95, times),
            }
        )
    assert await ask("experiment_arms", tenant=tenant) == expected
    assert await ask("experiment_arms", tenant=tenant, experiment="tone") == [
        row for row in expected if row["experiment"] == "tone"
    ]


async def test_quality_of_arms(ask: Ask, tenant: str) -> None:
    """Each score of a request counts."""
    inside = [score for score in scores_of(tenant) if score.log.experiment]
    expected = []
    for (experiment, name, source, arm), scores in sorted(
        groups(inside, lambda score: (score.log.experiment, score.name, score.source, score.log.arm)).items()
    ):
        values = [score.value for score in scores]
        expected.append(
            {
                "experiment": experiment,
                "arm": arm,
                "score": name,
                "source": source,
                "scores": len(values),
                "users": len({(score.log.tenant, score.log.user_id) for score in scores}),
                "mean_score": cut(total(values), len(values)),
                "sd_score": deviation([float(value) for value in values]),
            }
        )
    assert await ask("experiment_quality", tenant=tenant) == expected


async def test_shadow_against_primary(ask: Ask, tenant: str) -> None:
    """Pairs of calls for the same request; requests without a shadow call are not in it."""
    pairs = [
        tuple(
            next(call for call in log.calls if call.shadow is shadow and call.error is None)
            for shadow in (False, True)
        )
        for log in logs_of(tenant)
        if any(call.shadow for call in log.calls)
    ]
    expected = []
    for (primary, shadow), items in groups(
        pairs, lambda pair: (pair[0].request_model, pair[1].request_model)
    ).items():
        costs = [total(pair[side].cost_usd for pair in items) for side in (0, 1)]
        slower_us = [pair[1].duration_us - pair[0].duration_us for pair in items]
        longer = [pair[1].usage.output_tokens - pair[0].usage.output_tokens for pair in items]
        expected.append(
            {
                "primary_model": primary,
                "shadow_model": shadow,
                "requests": len(items),
                "primary_cost_usd": costs[0],
                "shadow_cost_usd": costs[1],
                "cost_difference_usd": costs[1] - costs[0],
                "mean_difference_ms": pytest.approx(mean(slower_us) / 1000),
                "shadow_faster_share": pytest.approx(mean(each < 0 for each in slower_us)),
                "mean_difference_tokens": pytest.approx(mean(longer)),
            }
        )
    expected.sort(key=lambda row: (-row["requests"], row["primary_model"]))
    assert await ask("shadow_vs_primary", tenant=tenant) == expected
    assert expected

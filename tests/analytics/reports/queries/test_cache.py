"""What the cache did and what it saves."""

import math

import pytest

from streams.events import RequestLog, Status
from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import TENANTS, cost, cut, groups, logs_of, mean, scores_of

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]


def band(similarity: float) -> float:
    """The lower edge of a band of two hundredths."""
    return round(math.floor(similarity * 50) / 50, 2)


async def test_lookups_by_kind(ask: Ask, tenant: str) -> None:
    """Requests that never came to the cache are not in it."""
    looked_up = [log for log in logs_of(tenant) if log.cache_kind]
    expected = []
    for kind, logs in groups(looked_up, lambda log: log.cache_kind).items():
        cosines = [log.cache_similarity for log in logs if log.cache_similarity is not None]
        expected.append(
            {
                "cache_kind": kind,
                "requests": len(logs),
                "hits": sum(log.cache_hit for log in logs),
                "request_share": pytest.approx(len(logs) / len(looked_up)),
                "mean_latency_ms": pytest.approx(mean(log.latency_ms for log in logs)),
                "mean_similarity": pytest.approx(mean(cosines)) if cosines else None,
                "cost_usd": cost(logs),
            }
        )
    expected.sort(key=lambda row: (-row["requests"], row["cache_kind"]))
    assert await ask("cache_kinds", tenant=tenant) == expected
    assert {row["cache_kind"] for row in expected} == {"exact", "semantic", "miss", "bypass"}


async def test_dollars_and_milliseconds_saved(ask: Ask, tenant: str) -> None:
    """A hit saves what an answered miss of its tenant and prompt version cost and took on average."""
    looked_up = [log for log in logs_of(tenant) if log.cache_kind in ("exact", "semantic", "miss")]
    expected = []
    for (owner, template, version), logs in groups(
        looked_up, lambda log: (log.tenant, log.prompt_template, log.prompt_version)
    ).items():
        hits = [log for log in logs if log.cache_hit]
        misses = [log for log in logs if not log.cache_hit and log.status is Status.ANSWERED]
        hit_ms, miss_ms = (sum(log.latency_ms for log in part) for part in (hits, misses))
        expected.append(
            {
                "tenant": owner,
                "prompt_template": template,
                "prompt_version": version,
                "lookups": len(logs),
                "hits": len(hits),
                "hit_share": pytest.approx(len(hits) / len(logs)),
                "answered_misses": len(misses),
                "saved_usd": cut(len(hits) * cost(misses), len(misses)),
                "saved_ms": pytest.approx(len(hits) * miss_ms / len(misses) - hit_ms),
            }
        )
    expected.sort(
        key=lambda row: (-row["hits"], row["tenant"], row["prompt_template"], row["prompt_version"])
    )
    assert await ask("cache_savings", tenant=tenant) == expected
    assert sum(row["saved_usd"] for row in expected) > 0


async def test_savings_of_hits_without_a_miss_are_not_known(ask: Ask, tenant: str) -> None:
    """Null, not zero: a window of the hits alone has nothing to compare them with."""
    hit = next(log for log in logs_of(tenant) if log.cache_hit)
    rows = await ask("cache_savings", tenant=hit.tenant, since=hit.accepted_at, until=_next_moment(hit))
    assert [(row["hits"], row["answered_misses"], row["saved_usd"], row["saved_ms"]) for row in rows] == [
        (1, 0, None, None)
    ]


def _next_moment(log: RequestLog) -> str:
    return log.accepted_at.replace(microsecond=log.accepted_at.microsecond + 1).isoformat()


async def test_lookups_by_similarity(ask: Ask, tenant: str) -> None:
    """Bands of two hundredths; what was compared with nothing is in none."""
    compared = [log for log in logs_of(tenant) if log.cache_similarity is not None]
    expected = [
        {
            "band_from": edge,
            "lookups": len(logs),
            "hits": sum(log.cache_hit for log in logs),
            "misses": sum(not log.cache_hit for log in logs),
        }
        for edge, logs in groups(compared, lambda log: band(log.cache_similarity)).items()
    ]
    expected.sort(key=lambda row: -row["band_from"])
    assert await ask("cache_similarity", tenant=tenant) == expected


@pytest.mark.parametrize("name", ["", "helpfulness"])
async def test_wrong_hits_by_similarity(ask: Ask, tenant: str, name: str) -> None:
    """A hit is wrong where one of its scores is bad; one without a score is neither right nor wrong."""
    worst: dict[tuple[str, str], float] = {}
    for score in scores_of(tenant):
        if name in ("", score.name):
            key = (score.log.tenant, score.log.request_id)
            worst[key] = min(worst.get(key, math.inf), float(score.value))
    hits = [log for log in logs_of(tenant) if log.cache_hit]
    expected = []
    for edge, logs in groups(
        hits, lambda log: band(1.0 if log.cache_similarity is None else log.cache_similarity)
    ).items():
        judged = [worst[log.tenant, log.request_id] for log in logs if (log.tenant, log.request_id) in worst]
        wrong = sum(value < 0.4 for value in judged)
        expected.append(
            {
                "band_from": edge,
                "hits": len(logs),
                "scored": len(judged),
                "wrong": wrong,
                "wrong_share": pytest.approx(wrong / len(judged)) if judged else None,
            }
        )
    expected.sort(key=lambda row: -row["band_from"])
    assert await ask("cache_wrong_hits", tenant=tenant, score=name, threshold=0.4) == expected
    assert sum(row["wrong"] for row in expected) > 0

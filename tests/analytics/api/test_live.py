"""`/v1/analytics/live`: who sees which parts, and what is there when a part is not."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics.api.health import CachedReading
from analytics.api.live import LivePipeline, OpenDeadLetters, StageCount, connected_pipeline
from analytics.lags import GroupLag
from analytics.reports.catalogue import Catalogue
from analytics.status import RollupStatus, SinkStatus, WatchStatus
from streams.errors import KafkaUnavailable
from streams.kafka.record_auth import UNSIGNED
from streams.kafka.topic_admin import create_topics
from tests.analytics.api.analysts import ACME, ADMIN, app_of, client_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIVE = "/v1/analytics/live"


def lag(stage: str, count: int, oldest_s: float = 0.0) -> GroupLag:
    return GroupLag(
        stage=stage,
        group=f"headrace.{stage}",
        topic=f"llm.{stage}.v1",
        lag=count,
        oldest_s=oldest_s,
        members=1,
    )


LAGS = (lag("guardrail", 3), lag("llm", 5, 8.0), lag("analytics", 40, 2.0), lag("retries", 2))
LETTERS = OpenDeadLetters(
    waiting=4, on_topic=9, by_stage=(StageCount(stage="llm", waiting=4),), complete=True
)


async def lags() -> Sequence[GroupLag]:
    return LAGS


async def letters() -> OpenDeadLetters:
    return LETTERS


async def away() -> Any:
    raise KafkaUnavailable("no broker")


def pipeline(
    read_lags: Callable[[], Awaitable[Sequence[GroupLag]]] = lags,
    read_letters: Callable[[], Awaitable[OpenDeadLetters]] = letters,
    *,
    sink: SinkStatus | None = None,
    watch: WatchStatus | None = None,
) -> LivePipeline:
    return LivePipeline(
        sink or SinkStatus(lambda: NOW),
        watch or WatchStatus(),
        lags=CachedReading("lags", read_lags, fresh_for_s=60, timeout_s=5),
        letters=CachedReading("letters", read_letters, fresh_for_s=60, timeout_s=5),
        clock=lambda: NOW,
    )


async def asked(live: LivePipeline, key: str | None = ADMIN) -> Any:
    async with client_of(app_of(Catalogue({}), live=live), key) as client:
        response = await client.get(LIVE)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "private, no-store"
    return response.json()


async def test_the_admin_sees_all_parts() -> None:
    """In flight is what the stages have not finished: not what waits for the sink, nor what was put aside."""
    sink, watch = SinkStatus(lambda: NOW), WatchStatus()
    sink.schema.set()
    sink.joined = True
    sink.rollups = RollupStatus(last_run_at=NOW, last_run_s=0.5, refreshed=1, dirty_days=2)
    watch.newest_rows = {"requests": NOW - timedelta(seconds=7)}
    found = await asked(pipeline(sink=sink, watch=watch))
    assert found["at"] == "2026-11-21T12:00:00Z"
    assert [each["stage"] for each in found["topics"]] == ["guardrail", "llm", "analytics", "retries"]
    assert found["topics"][1] == {
        "stage": "llm",
        "group": "headrace.llm",
        "topic": "llm.llm.v1",
        "lag": 5,
        "oldest_s": 8.0,
        "members": 1,
    }
    assert found["in_flight"] == {"requests": 8, "put_aside": 2}
    assert found["dead_letters"] == {
        "waiting": 4,
        "on_topic": 9,
        "by_stage": [{"stage": "llm", "waiting": 4}],
        "complete": True,
    }
    assert found["sink"] == {
        "state": "ok",
        "away": [],
        "lag": 40,
        "oldest_s": 2.0,
        "freshness_s": 7.0,
        "last_commit_at": None,
    }
    assert found["rollups"] == {
        "behind_s": 0.0,
        "last_run_at": "2026-11-21T12:00:00Z",
        "last_run_s": 0.5,
        "dirty_days": 2,
        "last_error": None,
    }
    assert found["faults"] == {}


async def test_a_tenant_sees_how_fresh_its_figures_are() -> None:
    """Nothing of what the others do; the dead letters are not even read."""

    async def nobody_asks() -> OpenDeadLetters:
        raise AssertionError

    found = await asked(pipeline(read_letters=nobody_asks), ACME)
    assert set(found) == {"at", "sink", "rollups", "faults"}
    assert found["sink"]["lag"] == 40


async def test_without_a_key_nobody_sees_anything() -> None:
    """As everywhere in the API."""
    async with client_of(app_of(Catalogue({}), live=pipeline()), None) as client:
        assert (await client.get(LIVE)).status_code == 401


async def test_a_part_that_cannot_be_read_is_null_with_its_reason() -> None:
    """The others are there; of the sink what its own process knows."""
    sink = SinkStatus(lambda: NOW)
    sink.schema.set()
    sink.joined = True
    sink.lag_records = 17
    sink.failed("kafka", "gone")
    found = await asked(pipeline(read_lags=away, sink=sink))
    assert (found["topics"], found["in_flight"]) == (None, None)
    assert found["faults"] == {"topics": "no broker", "in_flight": "no broker"}
    assert found["dead_letters"]["waiting"] == 4
    assert (found["sink"]["state"], found["sink"]["away"], found["sink"]["lag"]) == (
        "degraded",
        ["kafka"],
        17,
    )
    found = await asked(pipeline(read_letters=away))
    assert (found["dead_letters"], found["faults"]) == (None, {"dead_letters": "no broker"})
    assert found["in_flight"]["requests"] == 8


async def test_before_anything_is_known_it_says_so() -> None:
    """Nulls, not zeros."""
    found = await asked(pipeline())
    assert found["sink"]["state"] == "starting"
    assert found["sink"]["freshness_s"] is None
    assert found["rollups"]["behind_s"] is None


async def test_many_pages_cost_one_reading() -> None:
    """However many ask at once."""
    readings = 0

    async def counted() -> Sequence[GroupLag]:
        nonlocal readings
        readings += 1
        await asyncio.sleep(0)
        return LAGS

    app = app_of(Catalogue({}), live=pipeline(counted))
    async with client_of(app, ADMIN) as client:
        answers = await asyncio.gather(*(client.get(LIVE) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert readings == 1


@pytest.mark.integration
async def test_on_a_real_broker(kafka_bootstrap: str) -> None:
    """Every stage has its line, and the dead letters are counted."""
    await create_topics(kafka_bootstrap, partitions=4, replication=1)
    live = connected_pipeline(kafka_bootstrap, SinkStatus(), WatchStatus(), UNSIGNED)
    found = await asked(live)
    for _ in range(20):  # a broker that has just started has no coordinator for groups yet
        if not found["faults"]:
            break
        await asyncio.sleep(0.5)
        found = await asked(live)
    await live.close()
    assert found["faults"] == {}
    assert [each["stage"] for each in found["topics"]] == [
        "guardrail",
        "embeddings",
        "cache",
        "llm",
        "output",
        "cost",
        "analytics",
        "feedback",
        "retries",
        "webhooks",
    ]
    assert found["dead_letters"]["waiting"] <= found["dead_letters"]["on_topic"]

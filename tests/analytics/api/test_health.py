"""What the HTTP side answers."""

from datetime import UTC, datetime, timedelta

import httpx

from analytics.app import create_app
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.errors import ClickHouseUnavailable
from tests.analytics.api.test_metrics import alert

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


async def answers() -> None:
    """A ClickHouse that answers."""


async def is_away() -> None:
    """A ClickHouse that does not."""
    raise ClickHouseUnavailable("ClickHouse at ch:8123: connection refused")


async def get(status: SinkStatus, path: str, ping: object = answers) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(status, ping))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


def ready_status(clock: Clock) -> SinkStatus:
    status = SinkStatus(clock)
    status.schema.set()
    status.joined = True
    return status


async def test_it_is_ready_once_the_schema_is_there_and_the_group_joined() -> None:
    """Before, it is starting: alive, but nothing is stored yet."""
    status = SinkStatus(Clock())
    assert (await get(status, "/ready")).status_code == 503
    assert (await get(status, "/ready")).json()["status"] == "starting"
    status.schema.set()
    assert (await get(status, "/ready")).status_code == 503
    status.joined = True
    answer = await get(status, "/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["dependencies"] == {"kafka": {"status": "up"}, "clickhouse": {"status": "up"}}


async def test_an_outage_shows_with_its_beginning_and_its_error() -> None:
    """Health stays 200, because the process itself is well; ready says 503; both say why."""
    clock = Clock()
    status = ready_status(clock)
    status.failed("clickhouse", "connection refused")
    clock.now += timedelta(seconds=30)
    status.failed("clickhouse", "timed out")
    health = await get(status, "/health")
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert health.json()["dependencies"]["clickhouse"] == {
        "status": "down",
        "since": "2026-11-20T12:00:00Z",
        "error": "timed out",
    }
    assert health.json()["sink"]["last_error"] == "timed out"
    assert (await get(status, "/ready")).status_code == 503
    status.recovered("clickhouse")
    assert (await get(status, "/ready")).status_code == 200


async def test_an_outage_shows_when_there_is_nothing_to_store() -> None:
    """ClickHouse is asked, even if the sink had no reason to."""
    answer = await get(ready_status(Clock()), "/ready", is_away)
    assert answer.status_code == 503
    assert "refused" in answer.json()["dependencies"]["clickhouse"]["error"]


async def test_a_broker_that_does_not_answer_fetches_is_down() -> None:
    """Noticed by reading or by committing: to the operator it is one Kafka."""
    status = ready_status(Clock())
    status.failed("kafka_fetch", "no broker has answered for 11 s")
    found = (await get(status, "/ready")).json()["dependencies"]
    assert set(found) == {"kafka", "clickhouse"}
    assert found["kafka"]["status"] == "down"


async def test_a_sink_whose_loop_hangs_is_not_alive() -> None:
    """Only then does a restart help; an outage is no reason for one."""
    clock = Clock()
    status = ready_status(clock)
    clock.now += timedelta(seconds=59)
    assert (await get(status, "/live")).status_code == 200
    clock.now += timedelta(seconds=2)
    assert (await get(status, "/live")).status_code == 503
    status.failed("kafka", "away")
    assert (await get(status, "/live")).status_code == 200
    status.recovered("kafka")
    assert (await get(status, "/live")).status_code == 503
    status.polled()
    assert (await get(status, "/live")).status_code == 200


async def test_figures_of_the_sink() -> None:
    """Rows, batches, the last insert's duration and how far behind it is."""
    clock = Clock()
    status = ready_status(clock)
    status.inserted(50, 0.01234)
    status.stored(7, replayed=False)
    status.stored(3, replayed=True)
    status.oldest_waiting_at = START - timedelta(seconds=4)
    sink = (await get(status, "/health")).json()["sink"]
    assert {name: sink[name] for name in ("rows", "records", "batches", "replayed_batches")} == {
        "rows": 50,
        "records": 10,
        "batches": 2,
        "replayed_batches": 1,
    }
    assert sink["last_insert_ms"] == 12.3
    assert sink["behind_s"] == 4.0
    assert sink["last_commit_at"] == "2026-11-20T12:00:00Z"


async def test_standing_alerts_are_told_without_tenants() -> None:
    """By rule and severity: the route needs no key. Where nobody watches there is no such part."""
    watch = WatchStatus()
    watch.watching = True
    watch.standing = [alert("error_rate", "acme"), alert("error_rate", "globex"), alert("spend", "acme")]
    transport = httpx.ASGITransport(create_app(ready_status(Clock()), answers, watch=watch))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/health")
    assert response.json()["alerts"] == {
        "watching": True,
        "round_at": None,
        "judged_until": None,
        "failed_rounds": 0,
        "standing": [
            {"rule": "error_rate", "severity": "critical", "alerts": 2},
            {"rule": "spend", "severity": "critical", "alerts": 1},
        ],
    }
    assert "acme" not in response.text
    assert "alerts" not in (await get(ready_status(Clock()), "/health")).json()


async def test_the_reader_of_feedback_says_how_it_is() -> None:
    """Beside the sink, which stores on whatever becomes of feedback: it is ready all the same."""
    clock = Clock()
    feedback = FeedbackStatus(clock)
    feedback.joined = True
    feedback.pending(3, START.timestamp())
    feedback.failed("clickhouse", "connection refused")
    transport = httpx.ASGITransport(create_app(ready_status(clock), answers, feedback=feedback))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        health, ready = await client.get("/health"), await client.get("/ready")
    assert health.json()["feedback"] == {
        "joined": True,
        "partitions": 0,
        "records": 0,
        "scores": 0,
        "erased": 0,
        "dead_letters": 0,
        "waiting": 3,
        "waiting_since": "2026-11-20T12:00:00Z",
        "outages": {"clickhouse": "connection refused"},
    }
    assert (health.json()["status"], ready.status_code) == ("ok", 200)
    assert "feedback" not in (await get(ready_status(clock), "/health")).json()

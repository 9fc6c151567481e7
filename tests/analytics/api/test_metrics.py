"""`/metrics`, as Prometheus reads it."""

import re
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import FastAPI
from prometheus_client import generate_latest

from analytics.api.health import StatusCollector, metrics_registry, metrics_router
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.events import AlertRaised

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
SAMPLE = re.compile(r'headrace_[a-z_]+(\{[a-z]+="[a-z_]+"(,[a-z]+="[a-z_]+")*\})? -?[0-9.e+]+')


def alert(rule: str, tenant: str) -> AlertRaised:
    return AlertRaised(
        alert_id="a",
        rule=rule,
        state="raised",
        severity="critical",
        direction="above",
        observed=1,
        expected=0,
        unit="ratio",
        method="",
        message="",
        window_since=NOW,
        window_until=NOW,
        began_at=NOW,
        at=NOW,
        tenant=tenant,
    )


def scraped(sink: SinkStatus, watch: WatchStatus, feedback: FeedbackStatus) -> str:
    collector = StatusCollector(sink, watch, feedback, clock=lambda: NOW)
    return generate_latest(metrics_registry(collector)).decode()


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in lines), lines
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_what_is_not_known_yet_has_no_sample() -> None:
    """A lag of 0 that nobody has looked at would be a lie."""
    found = samples(scraped(SinkStatus(), WatchStatus(), FeedbackStatus()))
    assert found["headrace_sink_records_total"] == 0
    assert found["headrace_watcher_active"] == 0
    assert "headrace_sink_lag_records" not in found
    assert not any(name.startswith("headrace_freshness_seconds") for name in found)


def test_lag_freshness_and_alerts_are_told() -> None:
    """Ages against now, and standing alerts by rule and severity."""
    sink, watch, feedback = SinkStatus(), WatchStatus(), FeedbackStatus()
    feedback.pending(3, (NOW - timedelta(seconds=40)).timestamp())
    sink.stored(40, replayed=True)
    watch.watching, watch.sink_lag_records, watch.sink_stale_s = True, 7, 600.0
    watch.newest_rows = {"requests": NOW - timedelta(seconds=90)}
    watch.judged_until = watch.round_at = NOW - timedelta(seconds=5)
    watch.standing = (alert("spend", ""), alert("error_rate", "a"), alert("error_rate", "b"))
    found = samples(scraped(sink, watch, feedback))
    assert found["headrace_sink_records_total"] == 40
    assert found["headrace_sink_replayed_batches_total"] == 1
    assert (found["headrace_feedback_waiting"], found["headrace_feedback_waiting_seconds"]) == (3, 40)
    assert (found["headrace_sink_lag_records"], found["headrace_sink_stale_seconds"]) == (7, 600)
    assert found['headrace_freshness_seconds{table="requests"}'] == 90
    assert found["headrace_watcher_active"] == 1
    assert found["headrace_watcher_round_age_seconds"] == 5
    assert found["headrace_watcher_judged_until_seconds"] == NOW.timestamp() - 5
    assert found['headrace_alerts_standing{rule="error_rate",severity="critical"}'] == 2
    assert found['headrace_alerts_standing{rule="spend",severity="critical"}'] == 1


def test_every_family_says_what_it_is() -> None:
    """Help and type come before the samples of each."""
    text = scraped(SinkStatus(), WatchStatus(), FeedbackStatus())
    for name in {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}:
        assert f"# HELP {name} " in text
        kind = "counter" if name.endswith("_total") else "gauge"
        assert f"# TYPE {name} {kind}\n" in text


async def test_the_route_answers_in_prometheus_format() -> None:
    """With its content type."""
    app = FastAPI()
    collector = StatusCollector(SinkStatus(), WatchStatus(), FeedbackStatus())
    app.include_router(metrics_router(metrics_registry(collector)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://analytics") as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "headrace_sink_ready 0.0\n" in answer.text

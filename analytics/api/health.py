"""`/health`, `/live`, `/ready` and `/metrics`: whether the process is alive, ready, and how far behind."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog
from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse

from analytics.reports.query_service import QueryCounts
from analytics.status import Clock, FeedbackStatus, SinkStatus, WatchStatus, utc_now
from streams.errors import ClickHouseUnavailable, KafkaUnavailable
from streams.tasks import cancel_and_wait

log = structlog.get_logger(__name__)

T = TypeVar("T")


class SourceReading(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A reading. Where the source did not answer, `value` is None and `fault` says why."""

    value: T | None = None
    fault: str | None = None


@dataclass(eq=False)
class CachedReading(Generic[T]):
    """A source that is read on demand; an answer is given again for `fresh_for_s`.

    A reading that takes longer than the timeout goes on, and no other one begins meanwhile: callers then get
    a fault.
    """

    name: str
    read: Callable[[], Awaitable[T]]
    fresh_for_s: float
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    _running: asyncio.Task[SourceReading[T]] | None = field(default=None, init=False)
    _read_at: float = field(default=0.0, init=False)
    _away: bool = field(default=False, init=False)

    async def get(self) -> SourceReading[T]:
        """Return what the source says now, or said less than `fresh_for_s` ago."""
        running = self._running
        if running is None or (running.done() and self.clock() - self._read_at >= self.fresh_for_s):
            running = self._running = asyncio.create_task(self._ask(), name=f"reading.{self.name}")
        await asyncio.wait((running,), timeout=self.timeout_s)
        if not running.done():
            return SourceReading(fault=f"no answer within {self.timeout_s:g} s")
        return running.result()

    async def close(self) -> None:
        """Cancel a reading that is under way."""
        running, self._running = self._running, None
        if running is not None:
            await cancel_and_wait(running)

    async def _ask(self) -> SourceReading[T]:
        try:
            value = await self.read()
        except (KafkaUnavailable, ClickHouseUnavailable) as fault:
            if not self._away:  # told when it begins, not at each look
                log.warning("reading.no_answer", source=self.name, error=str(fault))
            self._away = True
            return SourceReading(fault=str(fault))
        else:
            self._away = False
            return SourceReading(value=value)
        finally:
            self._read_at = self.clock()


#: The sink's loop turns many times a second; after so long it hangs, and a restart will help.
_HUNG_AFTER_S = 60.0

#: What a probe may take, and how long its result is given again, in seconds.
_PROBE_TIMEOUT_S = 1.5
_PROBE_FRESH_S = 1.0

_STATE: Final[dict[int | str, dict[str, Any]]] = {
    503: {"description": "It does not: the body says why", "content": {"application/json": {}}}
}

Ping = Callable[[], Awaitable[None]]


def health_router(
    status: SinkStatus,
    ping: Ping,
    watch: WatchStatus | None = None,
    feedback: FeedbackStatus | None = None,
    *,
    signed: bool = True,
) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["health"])
    # Asked once for all callers, and never for long: a ClickHouse that hangs must not hold up `/health`.
    probe = CachedReading("clickhouse", ping, fresh_for_s=_PROBE_FRESH_S, timeout_s=_PROBE_TIMEOUT_S)

    @router.get("/health")
    async def health() -> dict[str, Any]:
        """Return the state of the dependencies and of the sink, with its counters."""
        signing = "required" if signed else "off"
        return {**await _health(status, probe, watch, feedback), "record_signing": signing}

    @router.get("/live", responses=_STATE)
    async def live(response: Response) -> dict[str, Any]:
        """Answer 200 while the sink's loop turns, 503 where only a restart will help."""
        # While something is away it may wait inside a turn, and no restart would end that.
        hung = status.joined and not status.outages and status.idle_s > _HUNG_AFTER_S
        response.status_code = 503 if hung else 200
        return {"status": "hung" if hung else "ok", "idle_s": round(status.idle_s, 1)}

    @router.get("/ready", responses=_STATE)
    async def ready(response: Response) -> dict[str, Any]:
        """Answer 200 where records are being stored, 503 with the reasons where not."""
        found = await _health(status, probe, watch, feedback)
        response.status_code = 200 if found["status"] == "ok" else 503
        return found

    return router


async def _health(
    status: SinkStatus, probe: CachedReading[None], watch: WatchStatus | None, feedback: FeedbackStatus | None
) -> dict[str, Any]:
    # Asked first: what the sink says about itself is then of one moment.
    fault = None if "clickhouse" in status.outages else (await probe.get()).fault
    dependencies: dict[str, Any] = {
        name: {"status": "down", "since": outage.since, "error": outage.error}
        for name, outage in status.outages.items()
    }
    if "kafka_fetch" in dependencies:  # the same broker, noticed by reading
        fetching = dependencies.pop("kafka_fetch")
        dependencies.setdefault("kafka", fetching)
    if fault is not None:
        dependencies.setdefault("clickhouse", {"status": "down", "error": fault})
    overall = "degraded" if dependencies else "ok" if status.ready else "starting"
    for name in ("kafka", "clickhouse"):
        dependencies.setdefault(name, {"status": "up"})
    return {
        "status": overall,
        "dependencies": dependencies,
        "sink": status.as_dict(),
        "rollups": status.rollups,
        **({} if watch is None else {"alerts": watch.as_dict()}),
        **({} if feedback is None else {"feedback": feedback.as_dict()}),
    }


CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Figures = Iterator[tuple[str, str, float | None]]


@dataclass(eq=False)
class StatusCollector(Collector):
    """Reads the states of the sink, the watcher and the feedback consumer when it is scraped."""

    sink: SinkStatus
    watch: WatchStatus
    feedback: FeedbackStatus
    clock: Clock = utc_now

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        for name, text, count in self._counters():
            yield CounterMetricFamily(f"headrace_{name}", text, value=count)
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(f"headrace_{name}", text, value=value)
        yield from self._labelled()

    def _counters(self) -> Figures:
        sink, feedback = self.sink, self.feedback
        yield "sink_records", "Log records stored by this process.", sink.records
        yield "sink_rows", "Rows inserted by this process.", sink.rows
        yield "sink_batches", "Batches stored.", sink.batches
        yield "sink_replayed_batches", "Batches written again after a restart.", sink.replayed_batches
        yield "sink_dead_letters", "Records that could not be stored.", sink.dead_letters
        yield "feedback_records", "Records of llm.feedback.v1 read.", feedback.records
        yield "feedback_scores", "Scores stored.", feedback.scores
        yield "feedback_dead_letters", "Feedback that could not become a score.", feedback.dead_letters
        text = "Looks that Kafka or ClickHouse did not answer."
        yield "watcher_failed_rounds", text, self.watch.failed_rounds

    def _gauges(self) -> Figures:
        sink, feedback, watch = self.sink, self.feedback, self.watch
        yield "sink_partitions", "Partitions of llm.logs.v1 that this process stores.", sink.partitions
        yield "sink_own_lag_records", "Of these partitions, records not stored.", sink.lag_records
        text = "Age of the oldest record that this process has read and not stored."
        yield "sink_behind_seconds", text, sink.behind_s
        yield "sink_ready", "Whether records are being stored.", sink.ready
        yield "feedback_waiting", "Feedback without a row of its request yet.", feedback.waiting
        waiting_s = self._age_s(feedback.waiting_since) or 0.0
        yield "feedback_waiting_seconds", "Since the oldest of it was read.", waiting_s
        yield "sink_lag_records", "Log records that no process has stored yet.", watch.sink_lag_records
        text = "Age that the oldest of them has reached; 0 below HEADRACE_ALERT_STALE_S."
        yield "sink_stale_seconds", text, watch.sink_stale_s
        yield "watcher_active", "Whether this process watches.", watch.watching
        yield "watcher_round_age_seconds", "Since the watcher last looked.", self._age_s(watch.round_at)
        until = None if watch.judged_until is None else watch.judged_until.timestamp()
        text = "End of the last window that was judged, as a Unix time."
        yield "watcher_judged_until_seconds", text, until

    def _labelled(self) -> Iterator[Metric]:
        text = "Since the newest row of the table was written; none where the last day brought no row."
        freshness = GaugeMetricFamily("headrace_freshness_seconds", text, labels=["table"])
        for table, at in sorted(self.watch.newest_rows.items()):
            freshness.add_metric([table], self._age_s(at) or 0.0)
        yield freshness
        text = "Records that this process wrote to llm.alerts.v1."
        written = CounterMetricFamily("headrace_alerts", text, labels=["state"])
        written.add_metric(["raised"], self.watch.raised)
        written.add_metric(["resolved"], self.watch.resolved)
        yield written
        text = "Alerts that stand, where this process watches."
        standing = GaugeMetricFamily("headrace_alerts_standing", text, labels=["rule", "severity"])
        for labels, count in self.watch.standing_counts().items():
            standing.add_metric(labels, count)
        yield standing

    def _age_s(self, at: datetime | None) -> float | None:
        return None if at is None else max((self.clock() - at).total_seconds(), 0.0)


def metrics_registry(*collectors: StatusCollector | QueryCounts) -> CollectorRegistry:
    """Return a registry of this process's own; Prometheus' global one is not used."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """Return the route; `registry` has the metrics."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return the numbers in Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE)

    return router

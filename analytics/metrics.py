"""The process's Prometheus metrics. A figure that is not known yet has no sample."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse

from analytics.reports.query_service import QueryCounts
from analytics.status import Clock, FeedbackStatus, SinkStatus, WatchStatus, utc_now

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Figures = Iterator[tuple[str, str, float | None]]


class StatusCollector(Collector):
    """Reads the states of the sink, the watcher and the feedback consumer when it is scraped."""

    def __init__(
        self, sink: SinkStatus, watch: WatchStatus, feedback: FeedbackStatus, *, clock: Clock = utc_now
    ) -> None:
        self._sink = sink
        self._watch = watch
        self._feedback = feedback
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        for name, text, count in self._counters():
            yield CounterMetricFamily(f"headrace_{name}", text, value=count)
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(f"headrace_{name}", text, value=value)
        yield from self._labelled()

    def _counters(self) -> Figures:
        sink, feedback = self._sink, self._feedback
        yield "sink_records", "Log records stored by this process.", sink.records
        yield "sink_rows", "Rows inserted by this process.", sink.rows
        yield "sink_batches", "Batches stored.", sink.batches
        yield "sink_replayed_batches", "Batches written again after a restart.", sink.replayed_batches
        yield "sink_dead_letters", "Records that could not be stored.", sink.dead_letters
        yield "feedback_records", "Records of llm.feedback.v1 read.", feedback.records
        yield "feedback_scores", "Scores stored.", feedback.scores
        yield "feedback_dead_letters", "Feedback that could not become a score.", feedback.dead_letters
        text = "Looks that Kafka or ClickHouse did not answer."
        yield "watcher_failed_rounds", text, self._watch.failed_rounds

    def _gauges(self) -> Figures:
        sink, feedback, watch = self._sink, self._feedback, self._watch
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
        for table, at in sorted(self._watch.newest_rows.items()):
            freshness.add_metric([table], self._age_s(at) or 0.0)
        yield freshness
        text = "Records that this process wrote to llm.alerts.v1."
        written = CounterMetricFamily("headrace_alerts", text, labels=["state"])
        written.add_metric(["raised"], self._watch.raised)
        written.add_metric(["resolved"], self._watch.resolved)
        yield written
        text = "Alerts that stand, where this process watches."
        standing = GaugeMetricFamily("headrace_alerts_standing", text, labels=["rule", "severity"])
        for labels, count in self._watch.standing_counts().items():
            standing.add_metric(labels, count)
        yield standing

    def _age_s(self, at: datetime | None) -> float | None:
        return None if at is None else max((self._clock() - at).total_seconds(), 0.0)


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

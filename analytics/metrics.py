"""The process's Prometheus metrics. A figure that is not known yet has no sample."""

from collections.abc import Iterator, Mapping
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse

from analytics.reports.query_counts import QueryCounts
from analytics.status import Clock, FeedbackStatus, SinkStatus, WatchStatus, utc_now

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SINK_COUNTERS: Final = {
    "records": "Log records stored by this process.",
    "rows": "Rows inserted by this process.",
    "batches": "Batches stored.",
    "replayed_batches": "Batches written again after a restart.",
    "dead_letters": "Records that could not be stored.",
}
_FEEDBACK_COUNTERS: Final = {
    "records": "Records of llm.feedback.v1 read.",
    "scores": "Scores stored.",
    "dead_letters": "Feedback that could not become a score.",
}


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
        yield from _counters("sink", self._sink, _SINK_COUNTERS)
        yield from self._sink_gauges()
        yield from _counters("feedback", self._feedback, _FEEDBACK_COUNTERS)
        yield from self._feedback_gauges()
        yield from self._watch_gauges()
        yield _counter(
            "watcher_failed_rounds",
            "Looks that Kafka or ClickHouse did not answer.",
            self._watch.failed_rounds,
        )
        yield from self._alerts()

    def _sink_gauges(self) -> Iterator[Metric]:
        sink = self._sink
        yield _gauge(
            "sink_partitions", "Partitions of llm.logs.v1 that this process stores.", sink.partitions
        )
        yield _gauge("sink_own_lag_records", "Of these partitions, records not stored.", sink.lag_records)
        yield _gauge(
            "sink_behind_seconds",
            "Age of the oldest record that this process has read and not stored.",
            sink.behind_s,
        )
        yield _gauge("sink_ready", "Whether records are being stored.", sink.ready)

    def _feedback_gauges(self) -> Iterator[Metric]:
        since = self._feedback.waiting_since
        waiting_s = max((self._clock() - since).total_seconds(), 0.0) if since else 0.0
        text = "Feedback without a row of its request yet."
        yield _gauge("feedback_waiting", text, self._feedback.waiting)
        yield _gauge("feedback_waiting_seconds", "Since the oldest of it was read.", waiting_s)

    def _watch_gauges(self) -> Iterator[Metric]:
        watch, now = self._watch, self._clock()
        text = "Log records that no process has stored yet."
        yield _gauge("sink_lag_records", text, watch.sink_lag_records)
        text = "Age that the oldest of them has reached; 0 below HEADRACE_ALERT_STALE_S."
        yield _gauge("sink_stale_seconds", text, watch.sink_stale_s)
        text = "Since the newest row of the table was written; none where the last day brought no row."
        freshness = GaugeMetricFamily("headrace_freshness_seconds", text, labels=["table"])
        for table, at in sorted(watch.newest_rows.items()):
            freshness.add_metric([table], max((now - at).total_seconds(), 0.0))
        yield freshness
        yield _gauge("watcher_active", "Whether this process watches.", watch.watching)
        age_s = None if watch.round_at is None else (now - watch.round_at).total_seconds()
        yield _gauge("watcher_round_age_seconds", "Since the watcher last looked.", age_s)
        until = None if watch.judged_until is None else watch.judged_until.timestamp()
        text = "End of the last window that was judged, as a Unix time."
        yield _gauge("watcher_judged_until_seconds", text, until)

    def _alerts(self) -> Iterator[Metric]:
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


def metrics_registry(*collectors: StatusCollector | QueryCounts) -> CollectorRegistry:
    """Return a registry of this process's own; Prometheus' global one is not used."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the page that Prometheus reads, in its text format 0.0.4."""
    return generate_latest(registry)


def _counters(part: str, status: object, texts: Mapping[str, str]) -> Iterator[Metric]:
    for name, text in texts.items():
        yield _counter(f"{part}_{name}", text, getattr(status, name))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"headrace_{name}", text, value=value)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"headrace_{name}", text, value=value)


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """Return the route; `registry` has the metrics."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return the numbers in Prometheus' text format."""
        return Response(exposition(registry), media_type=CONTENT_TYPE)

    return router

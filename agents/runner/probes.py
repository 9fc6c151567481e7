"""The HTTP endpoints of a worker: /live, /ready, and /metrics with a line for each number of each stage."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agents.runner.watchdog import StageReport, Watchdog
from streams.errors import ConfigurationError
from streams.serving.middleware import RequestFrame, answer_faults
from streams.serving.protocol import HttpServer, http_config
from streams.serving.responses import JsonResponse

#: Time limit for open requests when the worker ends.
_SHUTDOWN_S = 1.0
_BACKLOG = 32
_Number = Callable[[StageReport], float | None]


@asynccontextmanager
async def serve_probes(
    watchdog: Watchdog, metrics: CollectorRegistry, *, host: str, port: int
) -> AsyncIterator[None]:
    """Serve the endpoints while the block runs; nothing where the port is 0."""
    if not port:
        yield
        return
    server = HttpServer(http_config(_app(watchdog, metrics), grace_s=_SHUTDOWN_S, backlog=_BACKLOG))
    with _listen(host, port) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as fault:
        raise ConfigurationError(
            f"HEADRACE_WORKER_PORT: cannot listen on {host}:{port} ({fault.strerror}); give each worker a "
            "free port of its own"
        ) from fault


def _app(watchdog: Watchdog, metrics: CollectorRegistry) -> Starlette:
    async def live(_: Request) -> Response:
        stalled = watchdog.stalled
        if stalled is None:
            return JsonResponse({"status": "live"})
        seen = {"stage": stalled.stage, "what": stalled.what, "detail": stalled.detail}
        return JsonResponse({"status": "stalled", **seen}, status_code=503)

    async def ready(_: Request) -> Response:
        stages = {report.view.name: _stage(report) for report in watchdog.reports()}
        is_ready = (
            watchdog.stalled is None and bool(stages) and all(each["ready"] for each in stages.values())
        )
        return JsonResponse({"ready": is_ready, "stages": stages}, status_code=200 if is_ready else 503)

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = Starlette(routes=[Route("/live", live), Route("/ready", ready), Route("/metrics", show_metrics)])
    app.router.redirect_slashes = False  # it would send clients to whatever Host they name
    answer_faults(app, described_at="docs/deployment.md")
    app.add_middleware(RequestFrame, logger="worker.access")
    return app


def _stage(report: StageReport) -> dict[str, object]:
    """Return what /ready says of a stage: it has its partitions, or is an idle member without any."""
    view = report.view
    return {
        "ready": view.joined and not view.rebalancing,
        "partitions": len(view.partitions),
        "in_flight": len(view.in_flight),
        "lag": view.lag,
    }


#: Name, help, and the number of one stage; None where there is none yet.
_GAUGES: tuple[tuple[str, str, _Number], ...] = (
    ("partitions", "Partitions assigned.", lambda it: len(it.view.partitions)),
    ("in_flight", "Records being worked on.", lambda it: len(it.view.in_flight)),
    ("in_flight_limit", "Records that may be worked on at once.", lambda it: it.view.limit),
    (
        "oldest_in_flight_seconds",
        "Age of the oldest record being worked on.",
        lambda it: it.oldest_in_flight_s,
    ),
    ("lag_records", "Records of the assigned partitions that are not committed.", lambda it: it.view.lag),
    ("last_ack_age_seconds", "Since the last acknowledgement.", lambda it: it.last_ack_age_s),
    ("last_commit_age_seconds", "Since the last commit that moved.", lambda it: it.last_commit_age_s),
)
_COUNTERS: tuple[tuple[str, str, _Number], ...] = (
    ("acked", "Records that were acknowledged.", lambda it: it.view.counts.acked),
    ("put_aside", "Records that went to the retry topic.", lambda it: it.view.counts.put_aside),
    ("dead_letters", "Records that became dead letters.", lambda it: it.view.counts.dead_letters),
    (
        "handed_back",
        "Records given up at a rebalance, to be delivered again.",
        lambda it: it.view.counts.handed_back,
    ),
    ("rebalances", "Rebalances of the consumer group.", lambda it: it.view.rebalances),
)


class StageMetrics:
    """Collects the numbers of every stage when Prometheus asks for them."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def collect(self) -> Iterator[Metric]:
        """Yield one metric family per number, with one sample per stage."""
        reports = self._watchdog.reports()
        for metrics, family_type in ((_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily)):
            for name, text, number in metrics:
                family = family_type(f"headrace_worker_{name}", text, labels=["stage"])
                for report in reports:
                    value = number(report)
                    if value is not None:
                        family.add_metric([report.view.name], value)
                yield family
        stalled = self._watchdog.stalled is not None
        yield GaugeMetricFamily(
            "headrace_worker_stalled", "Whether the watchdog found a stage to be stuck.", value=stalled
        )

"""The HTTP endpoints of a worker: /live, /ready and /metrics."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agents.runner.watchdog.watchdog import StageReport, Watchdog
from streams.errors import ConfigurationError
from streams.serving.middleware import RequestFrame, answer_faults
from streams.serving.responses import JsonResponse
from streams.serving.server import HttpServer, http_config

#: Time limit for open requests when the worker ends.
_SHUTDOWN_S = 1.0
_BACKLOG = 32


@asynccontextmanager
async def serve_probes(
    watchdog: Watchdog, metrics: CollectorRegistry, *, host: str, port: int
) -> AsyncIterator[None]:
    """Serve the endpoints while the block runs; nothing where the port is 0.

    Args:
        watchdog: knows the consumers.
        metrics: what /metrics shows.
        host: where to listen.
        port: where to listen.

    Raises:
        ConfigurationError: the port is taken.
    """
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

"""What a worker answers over HTTP: /live, /ready and /metrics."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from agents.runner import metrics
from agents.runner.watchdog import StageReport, Watchdog
from streams.errors import ConfigurationError

#: An idle connection is closed after so long, and one that is being served when the worker ends.
_KEEPALIVE_S = 15.0
_SHUTDOWN_S = 1.0
_BACKLOG = 32


@asynccontextmanager
async def serve_probes(
    watchdog: Watchdog, *, host: str, port: int, more: Callable[[], Iterable[str]] = lambda: ()
) -> AsyncIterator[None]:
    """Answer probes while the block runs; nothing where the port is 0.

    Args:
        watchdog: knows the consumers.
        host: where to listen.
        port: where to listen.
        more: returns further lines for /metrics, in Prometheus' text format.

    Raises:
        ConfigurationError: the port is taken.
    """
    if not port:
        yield
        return
    runner = web.AppRunner(
        _app(watchdog, more),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_KEEPALIVE_S,
        shutdown_timeout=_SHUTDOWN_S,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        except OSError as fault:
            raise ConfigurationError(
                f"HEADRACE_WORKER_PORT: cannot listen on {host}:{port} ({fault.strerror}); give each "
                "worker a free port of its own"
            ) from fault
        yield
    finally:
        await runner.cleanup()


def _app(watchdog: Watchdog, more: Callable[[], Iterable[str]]) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        stalled = watchdog.stalled
        if stalled is None:
            return web.json_response({"status": "live"})
        seen = {"stage": stalled.stage, "what": stalled.what, "detail": stalled.detail}
        return web.json_response({"status": "stalled", **seen}, status=503)

    async def ready(_: web.Request) -> web.Response:
        stages = {report.view.name: _stage(report) for report in watchdog.reports()}
        is_ready = (
            watchdog.stalled is None and bool(stages) and all(each["ready"] for each in stages.values())
        )
        return web.json_response({"ready": is_ready, "stages": stages}, status=200 if is_ready else 503)

    async def show_metrics(_: web.Request) -> web.Response:
        text = metrics.exposition(watchdog.reports(), stalled=watchdog.stalled is not None)
        text += "".join(f"{line}\n" for line in more())
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/live", live)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", show_metrics)
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

"""The process `headrace analytics`: the schema, the sink and a small HTTP app."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from analytics.alerts.watcher import watch
from analytics.api.budgets import budgets_router
from analytics.api.dependencies import Analysts, analysts_of_settings
from analytics.api.health import StatusCollector, metrics_registry, metrics_router
from analytics.api.live import connected_pipeline
from analytics.app import create_app
from analytics.clickhouse import ClickHouse, skip_dataframe_imports
from analytics.erasure.retention import Retention
from analytics.feedback.consumer import read_feedback
from analytics.rollups.refresh import RollupRefresher, keep_rollups_fresh
from analytics.schema.migrate import SchemaRunner, create_database, load_migrations
from analytics.sink.batches import BatchLimits
from analytics.sink.consumer import SinkConfig
from analytics.sink.sink import Sink
from analytics.sink.writer import BatchWriter, TextRules
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.control.follower import ControlFollower
from streams.erasure import ErasureFeed
from streams.errors import ConfigurationError
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import SINK
from streams.publisher import Publisher
from streams.serving.protocol import HttpServer, http_config
from streams.settings import Settings
from streams.tasks import cancel_and_wait, unless_stopped

log = structlog.get_logger(__name__)

#: Three batches are in hand at once, two of them as rows, which take twice the bytes again (measured).
_BATCH_BYTES = 8 * 1024 * 1024

#: How long rows may wait for others under load, in seconds. Analysts' reports and the watcher's windows are
#: in minutes.
_BUSY_BATCH_S = 3.0

#: A batch is some hundred thousand objects without cycles. Looking for cycles among them every 700
#: allocations, Python's default, took over half of the sink's time.
_GC_THRESHOLDS = (200_000, 10, 20)

_CLIENT = "headrace.analytics"
_PROBE_TIMEOUT_S = 2.0
_HTTP_GRACE_S = 3


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then store what is in hand; `ConfigurationError` if the port is taken."""
    gc.set_threshold(*_GC_THRESHOLDS)
    skip_dataframe_imports()
    # It logs a traceback for each value that it cannot encode; the sink logs which record it was, and why.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    asyncio.run(run(settings))


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run inside an event loop until `stop` is set (by default: by SIGTERM or SIGINT); raises as `serve`."""
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    status, watch_status, feedback_status = SinkStatus(), WatchStatus(), FeedbackStatus()
    probe = ClickHouse(settings.clickhouse_url, database=None, timeout_s=_PROBE_TIMEOUT_S, threads=1)
    analysts = analysts_of_settings(settings)
    auth = RecordAuth.from_settings(settings)
    live = connected_pipeline(settings.kafka_bootstrap, status, watch_status, auth)
    app = create_app(
        status,
        partial(probe.execute, "SELECT 1"),
        analysts,
        watch=watch_status,
        feedback=feedback_status,
        live=live,
        cors_origins=settings.cors_origins,
        signed=auth.enabled,
    )
    collector = StatusCollector(status, watch_status, feedback_status)
    app.include_router(metrics_router(metrics_registry(collector, analysts.service.counts)))
    app.include_router(budgets_router(settings.daily_budgets))
    server = HttpServer(http_config(app, grace_s=_HTTP_GRACE_S))
    with_database = partial(_with_database, settings, status, stop)
    with _listen(settings.analytics_host, settings.analytics_port) as listener:
        http = asyncio.create_task(server.serve(sockets=[listener]))
        log.info("analytics.listening", host=settings.analytics_host, port=listener.getsockname()[1])
        sink = asyncio.create_task(_sink(settings, status, stop))
        others = [
            _background(with_database(partial(_rollups, settings, status, stop)), "rollups"),
            _background(_follow_control(settings, analysts, status, stop), "control"),
            _background(with_database(partial(read_feedback, settings, feedback_status, stop)), "feedback"),
        ]
        if settings.alerts:
            others.append(_background(with_database(partial(watch, settings, watch_status, stop)), "watcher"))
        try:
            await asyncio.wait((http, sink), return_when=asyncio.FIRST_COMPLETED)
        finally:  # whichever ended, for whatever reason, the other one ends too
            stop.set()
            server.should_exit = True
            await asyncio.wait((http, sink, *others))
            await live.close()
            await analysts.service.close()
            await probe.close()
        http.result()
        sink.result()


async def _follow_control(
    settings: Settings, analysts: Analysts, status: SinkStatus, stop: asyncio.Event
) -> None:
    """Accept the API keys and issuers of control records and know their prices, from when Kafka answers."""
    control = ControlFollower.of(settings, client_id=_CLIENT)
    control.subscribe(analysts.callers.follow)
    control.subscribe_history(analysts.service.prices.learn)
    if await unless_stopped(stop, status.retry("kafka", control.start)):
        await stop.wait()
    await control.stop()
    await analysts.callers.close()


async def migrate(settings: Settings, status: SinkStatus) -> None:
    """Bring the schema up to date, however long ClickHouse is away; raises as `SchemaRunner.apply`."""
    server = _connect(settings, database=None)
    clickhouse = _connect(settings, database=settings.clickhouse_database)
    try:
        await status.retry("clickhouse", partial(create_database, server, settings.clickhouse_database))
        await status.retry("clickhouse", SchemaRunner(clickhouse, load_migrations()).apply)
        status.schema.set()
    finally:
        await server.close()
        await clickhouse.close()


async def _sink(settings: Settings, status: SinkStatus, stop: asyncio.Event) -> None:
    if not await unless_stopped(stop, migrate(settings, status)):
        return
    auth, timeout_s = RecordAuth.from_settings(settings), settings.kafka_timeout_s
    publisher = Publisher(settings.kafka_bootstrap, client_id=_CLIENT, timeout_s=timeout_s, auth=auth)
    if not await unless_stopped(stop, status.retry("kafka", publisher.start)):
        return
    clickhouse = _connect(settings, database=settings.clickhouse_database)
    erasures = ErasureFeed(settings.kafka_bootstrap, client_id=_CLIENT, timeout_s=timeout_s, auth=auth)
    retention = _background(Retention(clickhouse, settings.tenants).run(), "retention")
    try:
        text = TextRules(default=settings.store_text, by_tenant=settings.text_by_tenant)
        writer = BatchWriter(clickhouse, publisher, status, text=text, erasures=erasures)
        batch = BatchLimits(
            rows=settings.sink_batch_rows,
            bytes=_BATCH_BYTES,
            seconds=settings.sink_batch_seconds,
            busy_seconds=_BUSY_BATCH_S,
        )
        await Sink(SinkConfig.of(settings, SINK, batch=batch), writer, status).run(stop)
    finally:
        await cancel_and_wait(retention)
        await erasures.aclose()
        await publisher.stop()
        await clickhouse.close()


async def _rollups(
    settings: Settings, status: SinkStatus, stop: asyncio.Event, clickhouse: ClickHouse
) -> None:
    interval_s = settings.rollup_seconds
    refresher = RollupRefresher(clickhouse, min_age_s=interval_s, statement_s=settings.clickhouse_timeout_s)
    await unless_stopped(stop, keep_rollups_fresh(refresher, status.rollups, interval_s=interval_s))


async def _with_database(
    settings: Settings,
    status: SinkStatus,
    stop: asyncio.Event,
    work: Callable[[ClickHouse], Awaitable[None]],
) -> None:
    """Run `work` with a connection of its own, once the schema is there."""
    if not await unless_stopped(stop, status.schema.wait()):
        return
    clickhouse = _connect(settings, database=settings.clickhouse_database)
    try:
        await work(clickhouse)
    finally:
        await clickhouse.close()


def _background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start work beside the sink. If it dies, that is logged, and the sink goes on."""

    def log_if_dead(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (fault := ended.exception()) is not None:
            log.error("analytics.task_died", task=name, exc_info=fault)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(log_if_dead)
    return task


def _connect(settings: Settings, *, database: str | None) -> ClickHouse:
    return ClickHouse(
        settings.clickhouse_url,
        database=database,
        timeout_s=settings.clickhouse_timeout_s,
        cluster=settings.clickhouse_cluster,
        quorum=settings.clickhouse_insert_quorum,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port))
        # Connections inherit it. asyncio does not set it on them, and head and body of a response are two
        # writes: the second would wait 40 ms for the client's acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as fault:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({fault.strerror}): set HEADRACE_ANALYTICS_PORT to a free port"
        ) from fault
    return listener

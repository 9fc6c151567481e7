"""The process `headrace analytics`: the schema, the sink and a small HTTP app."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog
import uvicorn
from fastapi import FastAPI

from analytics.api import create_app
from analytics.batches import Limits
from analytics.clickhouse import ClickHouse, leave_out_data_frames
from analytics.consumer import SinkConfig
from analytics.patience import patiently, unless_stopped
from analytics.schema import SchemaRunner, create_database, load_migrations
from analytics.sink import Sink
from analytics.status import SinkStatus
from analytics.writer import BatchWriter
from streams.errors import ConfigurationError
from streams.publisher import Publisher
from streams.settings import Settings
from streams.topics import LOGS

log = structlog.get_logger(__name__)

#: Decoded, a batch takes about five times its bytes, and two are in hand at once.
_BATCH_BYTES = 8 * 1024 * 1024

#: How long rows may wait for others under load, in seconds. Analysts' reports and the watcher's windows are
#: in minutes.
_BUSY_BATCH_S = 3.0

#: A batch is some hundred thousand objects without cycles. Looking for cycles among them every 700
#: allocations, Python's default, took over half of the sink's time.
_GC_THRESHOLDS = (200_000, 10, 20)

_PROBE_TIMEOUT_S = 2.0
_HTTP_GRACE_S = 3


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; then store what is in hand and return.

    Raises:
        ConfigurationError: the port is taken, or the schema is not what the migrations say.
    """
    gc.set_threshold(*_GC_THRESHOLDS)
    leave_out_data_frames()
    # It logs a traceback for each value that it cannot encode; we say which record it was, and why.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    asyncio.run(run(settings))


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run inside an event loop until `stop` is set (by default: by SIGTERM or SIGINT).

    Raises:
        ConfigurationError: as `serve`.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    status = SinkStatus()
    probe = ClickHouse(settings.clickhouse_url, database=None, timeout_s=_PROBE_TIMEOUT_S, threads=1)
    server = _Server(_http_config(create_app(status, partial(probe.execute, "SELECT 1"))))
    with _listen(settings.analytics_host, settings.analytics_port) as listener:
        http = asyncio.create_task(server.serve(sockets=[listener]))
        log.info("analytics.listening", host=settings.analytics_host, port=listener.getsockname()[1])
        sink = asyncio.create_task(_sink(settings, status, stop))
        try:
            await asyncio.wait((http, sink), return_when=asyncio.FIRST_COMPLETED)
        finally:  # whichever ended, for whatever reason, the other one ends too
            stop.set()
            server.should_exit = True
            await asyncio.wait((http, sink))
            await probe.close()
        http.result()
        sink.result()


async def migrate(settings: Settings, status: SinkStatus) -> None:
    """Bring the schema up to date, however long ClickHouse is away.

    Raises:
        ConfigurationError: the schema is not what the migrations say.
    """
    server = _connect(settings, database=None)
    clickhouse = _connect(settings, database=settings.clickhouse_database)
    try:
        for step in (
            partial(create_database, server, settings.clickhouse_database),
            SchemaRunner(clickhouse, load_migrations()).apply,
        ):
            await patiently(step, dependency="clickhouse", status=status)
        status.schema_ready = True
    finally:
        await server.close()
        await clickhouse.close()


async def _sink(settings: Settings, status: SinkStatus, stop: asyncio.Event) -> None:
    if not await unless_stopped(stop, migrate(settings, status)):
        return
    publisher = Publisher(
        settings.kafka_bootstrap, client_id="headrace.analytics", timeout_s=settings.kafka_timeout_s
    )
    start = patiently(publisher.start, dependency="kafka", status=status)
    if not await unless_stopped(stop, start):
        return
    clickhouse = _connect(settings, database=settings.clickhouse_database)
    try:
        writer = BatchWriter(clickhouse, publisher, status, store_text=settings.store_text)
        await Sink(_sink_config(settings), writer, status).run(stop)
    finally:
        await publisher.stop()
        await clickhouse.close()


def _connect(settings: Settings, *, database: str | None) -> ClickHouse:
    return ClickHouse(settings.clickhouse_url, database=database, timeout_s=settings.clickhouse_timeout_s)


def _sink_config(settings: Settings) -> SinkConfig:
    return SinkConfig(
        bootstrap=settings.kafka_bootstrap,
        topic=LOGS.name,
        instance_id=settings.instance_id,
        batch=Limits(
            rows=settings.sink_batch_rows,
            bytes=_BATCH_BYTES,
            seconds=settings.sink_batch_seconds,
            busy_seconds=_BUSY_BATCH_S,
        ),
        kafka_timeout_s=settings.kafka_timeout_s,
    )


class _Server(uvicorn.Server):
    """uvicorn, but for signals: they end the sink first, and it ends the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _http_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_HTTP_GRACE_S
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as fault:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({fault.strerror}): set HEADRACE_ANALYTICS_PORT to a free port"
        ) from fault

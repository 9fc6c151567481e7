"""Serves an engine over HTTP until SIGTERM or Ctrl-C."""

from __future__ import annotations

import faulthandler
import signal
import socket
from pathlib import Path

import uvicorn
from chdb import _chdb

from headrace.embedded.clickhouse.engine import Engine
from headrace.embedded.clickhouse.server import MAX_RUNNING, ClickHouseHttp
from headrace.embedded.clickhouse.users import Passwords
from headrace.own_pages import OwnPagesOnly

_KEEP_ALIVE_S = 30  # as the response's Keep-Alive header says
_DRAIN_S = 3


def serve(
    listener: socket.socket,
    data_dir: Path,
    config: Path,
    passwords: Passwords,
    *,
    max_running: int = MAX_RUNNING,
) -> None:
    """Serve until the end.

    Raises:
        EmbeddedError: The engine does not start.
    """
    # chDB's own handlers leave a crashed process standing that refuses every query. Ours end it, with
    # the stack in the log, so that it is started again.
    _chdb.set_signal_handlers_enabled(0)  # type: ignore[attr-defined]  # missing in its stubs
    faulthandler.enable()
    engine = Engine(data_dir, config)
    app = ClickHouseHttp(engine, passwords, max_running=max_running)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends on these and raises them again afterwards, which must not end us before we closed.
        signal.signal(number, lambda *_: None)
    try:
        _run(OwnPagesOnly(app), listener)
    finally:
        app.close()
        engine.close()


def _run(app: OwnPagesOnly, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    uvicorn.Server(config).run(sockets=[listener])

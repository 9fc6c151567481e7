"""Run the server: ``python -m headrace.embedded.clickhouse --data-dir … --port …``."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from chdb import _chdb

from headrace.embedded.clickhouse.engine import Engine
from headrace.embedded.clickhouse.server import MAX_RUNNING, ClickHouseHttp
from headrace.embedded.clickhouse.users import Passwords
from headrace.embedded.errors import EmbeddedError, PortInUse
from headrace.embedded.ports import LOOPBACK

PASSWORD_VARIABLE = "HEADRACE_EMBEDDED_CLICKHOUSE_PASSWORD"  # noqa: S105 - a name
READER_PASSWORD_VARIABLE = "HEADRACE_EMBEDDED_CLICKHOUSE_READER_PASSWORD"  # noqa: S105 - a name

_KEEP_ALIVE_S = 30  # as the response's Keep-Alive header says
_DRAIN_S = 3
_BACKLOG = 1024
_CANNOT_START = 2


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Returns:
        0 after an orderly end, 2 if it cannot start; standard error says why.
    """
    options = _parser().parse_args(arguments)
    # chDB's own handlers leave a crashed process standing that refuses every query. Ours end it, with
    # the stack in the log, so that it is started again.
    _chdb.set_signal_handlers_enabled(0)  # type: ignore[attr-defined]  # missing in its stubs
    faulthandler.enable()
    try:
        listener = _bind(options.host, options.port)
        engine = Engine(options.data_dir)
    except EmbeddedError as error:
        sys.stderr.write(f"clickhouse: {error}\n")
        return _CANNOT_START
    passwords = Passwords(owner=options.password, reader=options.reader_password)
    app = ClickHouseHttp(engine, passwords, max_running=options.max_queries)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends on these and raises them again afterwards, which must not end us before we closed.
        signal.signal(number, lambda *_: None)
    try:
        _serve(app, listener)
    finally:
        app.close()
        engine.close()
    return 0


def _serve(app: ClickHouseHttp, listener: socket.socket) -> None:
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


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise PortInUse(host, port, "--port") from error
    return listener


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.embedded.clickhouse",
        description="The ClickHouse HTTP interface over chDB, the ClickHouse engine as a library.",
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the databases")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--password",
        default=os.environ.get(PASSWORD_VARIABLE),
        help=f"password of the user default (default: ${PASSWORD_VARIABLE}, or none needed)",
    )
    parser.add_argument(
        "--reader-password",
        default=os.environ.get(READER_PASSWORD_VARIABLE),
        help=f"makes a user reader, who may only read tables (default: ${READER_PASSWORD_VARIABLE})",
    )
    parser.add_argument(
        "--max-queries",
        type=int,
        default=MAX_RUNNING,
        help="statements that run at once; more wait for their turn (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Runs uvicorn with the same protocol and limits in every process, and without signal handling."""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from streams.serving.http_limits import limits_of_process
from streams.serving.protocol import BoundedHttp


def http_config(
    app: ASGIApp,
    *,
    grace_s: float,
    host: str = "127.0.0.1",
    port: int = 0,
    backlog: int = 2048,
    protocol: type[BoundedHttp] = BoundedHttp,
) -> uvicorn.Config:
    """Return the configuration of a server; `host` and `port` have no use where it is given a socket.

    Open requests may take `grace_s` at shutdown, at least a second. `protocol` has the shape of errors.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=type("Limited", (protocol,), {"limits": limits_of_process()}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=backlog,
        timeout_graceful_shutdown=max(1, int(grace_s)),
    )


class HttpServer(uvicorn.Server):
    """A server without signal handling: uvicorn's raises the signal again and kills the process at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield

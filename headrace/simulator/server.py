"""Runs the simulator under uvicorn."""

import logging
import socket

import uvicorn
from starlette.types import ASGIApp

# Hanging calls end with their clients; at a stop they are given this long.
_GRACE_S = 2
_CUT_SHORT = "ASGI callable returned without completing response."


class AddressUnavailable(Exception):
    """The address cannot be listened on; the message says what to do."""


class _CutResponses(logging.Filter):
    """Hides uvicorn's complaint about responses that are cut short: it is what the fault `drop` is for."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != _CUT_SHORT


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        AddressUnavailable: If the address is taken or not of this machine.
    """
    try:
        return socket.create_server((host, port), backlog=2048, reuse_port=False)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port, or 0 for a free one"
        ) from error


def build_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server for the simulator; run it with `serve(sockets=[…])`."""
    logging.getLogger("uvicorn.error").addFilter(_CutResponses())
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=75,
        )
    )

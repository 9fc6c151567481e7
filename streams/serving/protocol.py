"""Uvicorn's HTTP/1.1, with bounds on what a client may do before its request is known.

Uvicorn has none: a connection that sends its headers a byte at a time, or never, is kept for ever, and
headers may be as long as memory lasts. What follows the headers is bounded where the body is read.
"""

import asyncio
from typing import Any, Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from streams.events import ErrorInfo
from streams.serving.errors import error_body
from streams.serving.json_response import to_json

#: From the connection's begin, or its first byte of a further request, to the end of the headers.
HEAD_TIMEOUT_S: Final = 10.0
#: Request line and headers. Traces, cookies and keys need a few kB; nginx allows 32.
MAX_HEAD_BYTES: Final = 32 * 1024

_TOO_SLOW = ErrorInfo(
    type="invalid_request_error",
    code="request_timeout",
    message=f"the request's headers did not arrive within {HEAD_TIMEOUT_S:g} s",
)
_TOO_LONG = ErrorInfo(
    type="invalid_request_error",
    code="headers_too_large",
    message=f"the request line and headers are longer than {MAX_HEAD_BYTES} bytes",
)

log = structlog.get_logger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """A connection whose requests must begin in time, and with headers of bounded length."""

    head_timeout_s = HEAD_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless it makes the headers too long."""
        if not self._in_body:
            if self._head_timer is None:
                self._await_head()  # a further request on the same connection
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_body and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, _TOO_LONG)

    def on_headers_complete(self) -> None:
        """Go on with the body."""
        self._stop_timer()
        self._in_body, self._head_bytes = True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the headers of the next request."""
        self._in_body = False
        super().on_message_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._refuse, 408, _TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, error: ErrorInfo) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            self._await_head()  # the response before it is still being sent on this connection
            return
        if not self._head_bytes:
            self.transport.close()  # it was opened ahead of need, and has said nothing
            return
        log.info("http.head_refused", status=status, code=error.code)
        body = to_json(error_body(error, ""))
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

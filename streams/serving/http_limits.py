"""Limits of HTTP connections, whatever the route, the errors beyond them, and the close that follows.

docs/http.md has the table.
"""

import asyncio
import re
import resource
from dataclasses import dataclass
from typing import Final

import httptools

from streams.serving.middleware import SECURITY_HEADERS
from streams.serving.responses import ApiError, invalid

#: More than the requests that one ingest holds open by default: idle connections and probes.
_MOST_CONNECTIONS: Final = 4096
#: The rest of the process's file descriptors are for Kafka, Redis and ClickHouse.
_SHARE_OF_FILES: Final = 0.75
#: A well-formed method (RFC 9110, a token) that the parser does not know.
_METHOD: Final = re.compile(rb"\s*[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} ")
#: A host and a port (RFC 9110, 7.2), without the characters that no host has.
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]*)(:\d{0,5})?")


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """Limits of each connection, and of all connections of a server."""

    #: From the begin of a request, or of the connection, to the end of its headers.
    head_timeout_s: float = 10.0
    head_bytes: int = 32 * 1024  # request line and headers; nginx allows 32 kB
    target_bytes: int = 8 * 1024  # nginx allows 8 kB
    header_bytes: int = 8 * 1024  # name and value of one header; nginx allows 8 kB
    headers: int = 100  # Apache allows 100
    body_window_s: float = 10.0  # over which the rate of a body is measured
    body_bytes_per_s: int = 500  # the lowest rate of a body; Apache asks for 500
    framing_bytes: int = 32 * 1024  # chunk extensions and trailers of a body
    pipelined: int = 16  # requests of one connection that wait for their turn
    idle_s: int = 5  # between two requests on a connection
    #: For so long, and so many bytes, what a refused client goes on to send is read and dropped.
    linger_s: float = 5.0
    linger_bytes: int = 64 * 1024 * 1024
    flush_s: float = 30.0  # in which a client must read the rest of its response when the connection ends
    connections: int = _MOST_CONNECTIONS


def limits_of_process() -> HttpLimits:
    """Return the limits, with no more connections than the process's file limit has room for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return HttpLimits()
    return HttpLimits(connections=max(1, min(_MOST_CONNECTIONS, int(files * _SHARE_OF_FILES))))


def too_slow(what: str) -> ApiError:
    """408: `what` did not arrive in time."""
    return invalid(what, code="request_timeout", status=408)


def target_too_long(limits: HttpLimits) -> ApiError:
    """414: path and query are too long."""
    words = f"the request target is longer than {limits.target_bytes} bytes"
    return invalid(words, code="uri_too_long", status=414)


def headers_too_large(what: str) -> ApiError:
    """431: `what` names the limit."""
    return invalid(what, code="headers_too_large", status=431)


def malformed(what: str) -> ApiError:
    """400: not HTTP/1.1 (RFC 9112)."""
    return invalid(f"not a valid HTTP/1.1 request: {what}", code="malformed_request")


def method_not_allowed() -> ApiError:
    """405: a method that no route has."""
    allow = {"Allow": "GET, HEAD, POST, DELETE, OPTIONS"}
    return invalid("no route has this method", code="method_not_allowed", status=405, headers=allow)


def refusal_of(fault: httptools.HttpParserError, begin: bytes) -> ApiError:
    """Return the error for a parser's fault; `begin` is the begin of the request, if it failed on that."""
    if isinstance(fault.__context__, ApiError):  # raised in a callback
        return fault.__context__
    if isinstance(fault, httptools.HttpParserInvalidMethodError) and _METHOD.match(begin):
        return method_not_allowed()
    if isinstance(fault, httptools.HttpParserCallbackError | httptools.HttpParserInvalidURLError):
        return malformed("the request target must be a path, percent-encoded ASCII")
    words = str(fault)
    return malformed(words[:1].lower() + words[1:])


def check_head(headers: list[tuple[bytes, bytes]], target: bytes, limits: HttpLimits) -> None:
    """Check the size of a complete head; raise the 414 or 431."""
    if len(target) > limits.target_bytes:
        raise target_too_long(limits)
    if len(headers) > limits.headers:
        raise headers_too_large(f"the request has more than {limits.headers} headers")
    sizes = [len(name) + len(value) for name, value in headers]
    if max(sizes, default=0) > limits.header_bytes:
        raise headers_too_large(f"a header is longer than {limits.header_bytes} bytes")
    if sum(sizes) + len(target) > limits.head_bytes:
        raise head_too_large(limits)


def head_too_large(limits: HttpLimits) -> ApiError:
    """431: the whole head is too long."""
    return headers_too_large(f"the request line and headers are longer than {limits.head_bytes} bytes")


def check_meaning(method: bytes, version: str, headers: list[tuple[bytes, bytes]], *, upgrade: bool) -> None:
    """Check what the parser does not; raise the 400 or 405."""
    if method == b"CONNECT":
        raise method_not_allowed()
    if version not in ("1.1", "1.0"):
        raise malformed(f"HTTP/{version} is not spoken here")
    names = [name for name, _ in headers]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise malformed("there must be exactly one Host header")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise malformed("the Host header must be a name or an address, and a port where it has one")
    if upgrade and (b"content-length" in names or b"transfer-encoding" in names):
        raise malformed("a request with a body must not ask for another protocol: leave out Upgrade")


def after_status(refusal: ApiError, body: bytes, request_id: str) -> bytes:
    """Return what follows the status line of an error that ends the connection."""
    headers = {
        **refusal.headers,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "X-Request-ID": request_id,
        **SECURITY_HEADERS,
    }
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return "".join(lines).encode("ascii") + b"\r\n" + body


class LingeringTransport(asyncio.Transport):
    """A transport that is closed so that the client gets the response.

    Closing a socket with unread bytes resets the connection, and the client may lose the response. So the
    sending side is closed first, and incoming bytes are read and dropped for a bounded time. A client that
    never reads its response cannot hold the connection.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limits: HttpLimits
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._budget = limits.linger_bytes
        self.lingering = False
        self.unread = False  # whether the client may still be sending

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        if not self.lingering:
            self._transport.write(data)

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more will be sent."""
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close once everything is sent; linger where the client may still be sending."""
        if self.is_closing():
            return
        if not self.unread:
            self.finish()
            return
        self.lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = self._loop.call_later(self._limits.linger_s, self.finish)

    def drop(self, count: int) -> None:
        """Count bytes that came while lingering."""
        self._budget -= count
        if self._budget < 0:
            self.finish()

    def finish(self) -> None:
        """Close without lingering; abort where the response is not read in time."""
        self.lost()
        self._timer = self._loop.call_later(self._limits.flush_s, self._transport.abort)
        self._transport.close()

    def lost(self) -> None:
        """Stop the timer: the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

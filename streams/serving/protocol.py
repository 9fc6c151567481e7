"""Uvicorn's HTTP/1.1 protocol with limits (`HttpLimits`) and errors as objects.

Uvicorn keeps a connection that sends a byte at a time for ever, accepts headers and trailers of any length,
and answers parser faults as plain text.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final

import httptools
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from streams.events import ErrorInfo
from streams.serving import http_limits
from streams.serving.http_limits import HttpLimits, LingeringTransport, limits_of_process
from streams.serving.responses import ApiError, error_body, invalid, to_json, unavailable

#: The size and the line ends of a chunk: what every chunk has beside its data.
_CHUNK_FRAME_BYTES: Final = 24

log = structlog.get_logger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """A connection that answers what is beyond `limits` with an `error_object`; a subclass sets both."""

    limits: ClassVar[HttpLimits] = HttpLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.limits.idle_s
        self.url = b""
        self._wire: LingeringTransport
        self._timer: asyncio.TimerHandle | None = None  # of the head or the body that is being received
        self._refusal: ApiError | None = None
        self._due = 0  # requests whose response is not complete
        self._in_head = self._in_body = self._in_last_chunk = False
        self._head_bytes = self._framing_bytes = self._window_bytes = self._trailers = 0
        self._keep_alive = True

    @staticmethod
    def error_object(error: ErrorInfo, status: int, request_id: str, path: str) -> Mapping[str, object]:
        """Return the body of an error, for a request of this path."""
        del status, path  # other shapes need them
        return error_body(error, request_id)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wait for a request, if one more connection is allowed."""
        super().connection_made(transport)
        self.transport = self._wire = LingeringTransport(transport, self.loop, self.limits)
        if len(self.connections) <= self.limits.connections or self._make_room():
            self._await(self._head_is_late, self.limits.head_timeout_s)
        else:
            words = "too many connections are open; try again in a moment"
            self._refuse(unavailable(words, code="overloaded"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._wire.lost()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection, or its keep-alive where a response is due."""
        self._keep_alive = False
        if self._due:
            super().shutdown()
        else:
            self._wire.finish()

    def give_way(self) -> bool:
        """End the connection if no response is due, and return whether it has ended."""
        if not self._due:
            self.connections.discard(self)
            self._wire.abort()
        return not self._due

    def _should_upgrade(self) -> bool:
        return False  # nothing but HTTP/1.1 is spoken here

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, within the limits."""
        if self._refusal is not None or self._wire.is_closing():
            self._wire.drop(len(data))
            return
        self._unset_keepalive_if_required()
        if self._in_body:
            self._window_bytes += len(data)
            self._framing_bytes += len(data)
        else:
            self._head_bytes += len(data)
        try:
            with suppress(httptools.HttpParserUpgrade):  # the response will end the connection
                self.parser.feed_data(data)
        except httptools.HttpParserError as fault:
            begins = data if self._head_bytes == len(data) else b""
            self._refuse(http_limits.refusal_of(fault, begins))
        else:
            self._look_at_rest()

    def _look_at_rest(self) -> None:
        """Check the part of a request that has arrived, and set the timer for the rest."""
        limits = self.limits
        if self._in_body:
            if self._framing_bytes > limits.framing_bytes:
                self._refuse(self._too_much_framing())
            elif self._timer is None:
                self._window_bytes = 0
                self._await(self._look_at_rate, limits.body_window_s)
        elif self._in_head and len(self.url) > limits.target_bytes:
            self._refuse(http_limits.target_too_long(limits))
        elif self._head_bytes > limits.head_bytes:
            self._refuse(http_limits.head_too_large(limits))
        elif self._timer is None and (self._in_head or not self._due):
            self._await(self._head_is_late, limits.head_timeout_s)

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Expect a head."""
        super().on_message_begin()
        self._in_head = self._wire.unread = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; only count a trailer, which must not change a running request."""
        if not self._in_body:
            super().on_header(name, value)
            return
        self._trailers += 1
        if self._trailers > self.limits.headers or len(name) + len(value) > self.limits.header_bytes:
            raise self._too_much_framing()

    def on_headers_complete(self) -> None:
        """Check the head and begin to serve; a response before the end of the body ends the connection."""
        self._stop_waiting()
        version, upgrade = self.parser.get_http_version(), self.parser.should_upgrade()
        http_limits.check_head(self.headers, self.url, self.limits)
        http_limits.check_meaning(self.parser.get_method(), version, self.headers, upgrade=upgrade)
        if self._due > self.limits.pipelined:
            raise http_limits.malformed(f"more than {self.limits.pipelined} requests wait on this connection")
        self.expect_100_continue &= version == "1.1"
        super().on_headers_complete()
        self._due += 1
        self._in_head, self._in_body, self._in_last_chunk = False, True, False
        self._head_bytes = self._framing_bytes = self._trailers = 0
        self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive and not upgrade, False

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body."""
        self._framing_bytes -= len(body)
        self._in_last_chunk = False
        super().on_body(body)

    def on_chunk_header(self) -> None:
        """Note a chunk: it is the last one, unless it has data."""
        self._framing_bytes -= _CHUNK_FRAME_BYTES
        self._in_last_chunk = True

    def on_message_complete(self) -> None:
        """Keep the connection alive, unless the response has announced its end."""
        self._stop_waiting()
        self._in_body = self._wire.unread = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or answer its error."""
        self._due -= 1
        super().on_response_complete()
        if self._refusal is not None and not self._due:
            self._answer(self._refusal)

    # Time-outs.

    def _await(self, late: Callable[[], None], timeout_s: float) -> None:
        self._timer = self.loop.call_later(timeout_s, late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        if self._in_head or self._head_bytes:
            within = f"within {self.limits.head_timeout_s:g} s"
            self._refuse(http_limits.too_slow(f"the request's headers did not arrive {within}"))
        else:
            self._wire.close()  # a connection opened ahead of need

    def _look_at_rate(self) -> None:
        rate, window_s = self.limits.body_bytes_per_s, self.limits.body_window_s
        if self._window_bytes < rate * window_s and not self.flow.read_paused:
            words = f"the body brought less than {rate} bytes a second for {window_s:g} s"
            self._refuse(http_limits.too_slow(words))
            return
        self._window_bytes = 0
        self._await(self._look_at_rate, self.limits.body_window_s)

    # Errors.

    def _too_much_framing(self) -> ApiError:
        if self._in_last_chunk:
            return http_limits.headers_too_large("the trailers of the body are over the limits for headers")
        words = f"the chunk extensions of the body are longer than {self.limits.framing_bytes} bytes"
        return invalid(words, code="request_too_large", status=413)

    def _make_room(self) -> bool:
        """End a connection that waits for its client, if there is one."""
        others = (each for each in self.connections if each is not self and isinstance(each, BoundedHttp))
        return any(other.give_way() for other in others)

    def _refuse(self, refusal: ApiError) -> None:
        """Stop reading; answer once the responses before are complete."""
        if self._refusal is not None or self._wire.is_closing():
            return
        self._stop_waiting()
        self._refusal, request_id = refusal, None
        if self._in_body:
            request_id = self.cycle.scope["state"].get("request_id")
            self._give_up_request()
        if not self._due:
            self._answer(refusal, request_id)

    def _give_up_request(self) -> None:
        """Tell the application that the client of the request being received has left."""
        if self.cycle.response_started:
            return  # it ends the connection itself
        self._due -= 1
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _answer(self, refusal: ApiError, request_id: str | None = None) -> None:
        if self._wire.is_closing():
            return
        request_id = request_id or str(uuid.uuid4())
        log.info("http.refused", request_id=request_id, status=refusal.status, code=refusal.error.code)
        path = self.url.partition(b"?")[0].decode("ascii", "replace")
        body = to_json(self.error_object(refusal.error, refusal.status, request_id, path))
        begin = STATUS_LINE[refusal.status] + b"".join(
            b"%b: %b\r\n" % header for header in self.server_state.default_headers
        )
        self._wire.write(begin + http_limits.after_status(refusal, body, request_id))
        self._wire.unread = True
        self._wire.close()


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
        proxy_headers=False,  # who is trusted to say whom it serves is a setting of ours
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

"""Server-sent events: their framing, and the loop that turns a running request into them.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ingest.errors import ApiError
from ingest.follow.replies import Listener
from ingest.follow.resume import Marker, Place
from ingest.follow.transcript import Finish, Reading, Replace, Say, Wait
from ingest.outcomes import error_of
from streams.events import ErrorInfo, Reply
from streams.serving.json_response import to_json

log = structlog.get_logger(__name__)

HEARTBEAT_S = 15.0
STALLED_S = 30.0
#: How long the text of a client that comes back may be ahead of what this replica has read.
RESUME_PATIENCE_S = 10.0
#: How soon a client is to connect again, in milliseconds.
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
# Without these, proxies collect the events and hand them on all at once.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

ANSWER_REPLACED = ErrorInfo(
    type="api_error",
    code="answer_replaced",
    message="the answer was replaced after part of it had been sent; fetch the whole answer at "
    "GET /v1/requests/{id} with the id of this request",
)
ANSWER_WITHDRAWN = ErrorInfo(
    type="invalid_request_error",
    code="content_filter",
    message="the answer was withdrawn by the output check after part of it had been sent",
)


def sse_event(data: object, *, name: str | None = None, event_id: str | None = None) -> bytes:
    """Return one event with JSON data, which never has a line break in it."""
    prefix = f"event: {name}\n".encode() if name else b""
    suffix = f"\nid: {event_id}\n\n".encode() if event_id else b"\n\n"
    return prefix + b"data: " + to_json(data) + suffix


class StreamShape(Protocol):
    """How one route words its stream. Every method returns whole events."""

    def begin(self) -> bytes:
        """Return what comes before the answer."""
        ...

    def text(self, text: str, marker: Marker) -> bytes:
        """Return the next piece of the answer. `marker` is where it begins, and gives the events' ids."""
        ...

    def restart(self) -> bytes | None:
        """Return what takes the text so far back; None where the format has no word for it."""
        ...

    def finish(self, reply: Reply) -> bytes:
        """Return the end of a stream whose answer was sent in full."""
        ...

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the end of a stream that has no (whole) answer."""
        ...


@runtime_checkable
class HasHeartbeat(Protocol):
    """A shape whose format has an event of its own for silence; the others get the comment `HEARTBEAT`."""

    def heartbeat(self) -> bytes:
        """Return what keeps a silent connection open."""
        ...


async def frames(
    listener: Listener,
    shape: StreamShape,
    *,
    give_up_at: float,
    on_timeout: Callable[[], ApiError],
    resume_at: Place | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[bytes, None]:
    """Yield the events of a running (or finished) request until its end, or until the listener is dismissed.

    Args:
        listener: the ear for the request.
        shape: the route's wording.
        give_up_at: when to end without a reply, on the scale of `clock`.
        on_timeout: returns the error to end with then.
        resume_at: what the client has already, where it comes back.
        heartbeat_s: the longest silence, in seconds; then a heartbeat keeps the connection open.
        clock: a monotonic clock, in seconds.
    """
    reading = Reading(resume_at)
    patient_until = clock() + RESUME_PATIENCE_S
    yield shape.begin()
    while True:
        reply = listener.reply
        end = _end_without_answer(listener, shape)
        if end is not None:
            yield end
            return
        patient = clock() < patient_until
        match reading.step(listener.text, reply.content if reply else None, patient=patient):
            case Say(text):
                yield shape.text(text, reading.marker)
            case Replace():
                restart = shape.restart()
                if restart is None:
                    yield shape.fail(_replaced(reply), reply)
                    return
                yield restart
            case Finish() if reply is not None:
                yield shape.finish(reply)
                return
            case Wait() | Finish():
                left_s = give_up_at - clock()
                if left_s <= 0:
                    yield shape.fail(on_timeout().error, None)
                    return
                if not await listener.news(min(left_s, heartbeat_s)):
                    yield shape.heartbeat() if isinstance(shape, HasHeartbeat) else HEARTBEAT


def _end_without_answer(listener: Listener, shape: StreamShape) -> bytes | None:
    if listener.reply is None:
        return b"" if listener.dismissed else None
    error = error_of(listener.reply)
    return shape.fail(error, listener.reply) if error is not None else None


def _replaced(reply: Reply | None) -> ErrorInfo:
    withdrawn = reply is not None and reply.finish_reason == "content_filter"
    return ANSWER_WITHDRAWN if withdrawn else ANSWER_REPLACED


class EventStream(StreamingResponse):
    """A stream of events that closes its listener, however it ends.

    What a slow client has not read yet stays in the request's transcript, which all its clients share; in its
    connection there is no more than the server's write buffer (64 KiB) and one step (`MAX_STEP_CHARS`). A
    client that reads nothing at all for `STALLED_S` while there is more than that is cut off.

    Args:
        events: the events.
        listener: closed when the stream ends or the client leaves, or even if it never starts.
        headers: of the response, beside those that keep proxies from collecting events.
        stalled_s: how long one write may take, in seconds.
        on_leave: called where the client leaves (or stalls) before the reply was there.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        listener: Listener,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        stalled_s: float = STALLED_S,
        on_leave: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(self._to_the_end(events), headers={**headers, **_HEADERS})
        self._events = events
        self._listener = listener
        self._stalled_s = stalled_s
        self._on_leave = on_leave
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""

        async def impatient_send(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stalled_s):
                    await send(message)
            except TimeoutError as fault:
                raise _Stalled from fault

        try:
            await self._serve(scope, receive, impatient_send)
        finally:
            self._listener.close()
            await self._events.aclose()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except _Stalled:
            log.info("sse.client_stalled", stalled_s=self._stalled_s)
        except ClientDisconnect:
            self._note_leave()
            raise
        # Not where this process is stopping: then it is not the client who leaves.
        self._note_leave()

    def _note_leave(self) -> None:
        if not self._ended and self._listener.reply is None:
            self._on_leave()

    async def _to_the_end(self, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for event in events:
            yield event
        self._ended = True


class _Stalled(Exception):
    """The client does not read."""

"""Server-sent events: their framing, and the loop that turns a running request into them.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ingest.errors import error_of
from ingest.follow.answer_cursor import AnswerCursor, ResumePoint, Step, StreamPosition
from ingest.follow.reply_hub import ReplyListener
from streams.events import ErrorInfo, Reply
from streams.serving.responses import ApiError, to_json

log = structlog.get_logger(__name__)

STALLED_S = 30.0
HEARTBEAT_S = 15.0
#: How long a client that resumes may be ahead of what this replica has read, in seconds.
RESUME_PATIENCE_S = 10.0
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


class TimedStream(StreamingResponse):
    """Streams pieces as the client takes them, one piece in memory at a time; they are closed at its end.

    A fault while streaming breaks the connection, so that the client cannot take what it has for the whole.
    The client may leave one write unread for `stalled_s`; the server's write buffer (64 KiB) takes what is
    written meanwhile.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str] | None = None,
        stalled_s: float = STALLED_S,
    ) -> None:
        super().__init__(pieces, headers=headers)
        self._pieces = pieces
        self._stalled_s = stalled_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""

        async def timed_send(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stalled_s):
                    await send(message)
            except TimeoutError as fault:
                raise _ClientStalled from fault

        try:
            await super().__call__(scope, receive, timed_send)
        except _ClientStalled:
            log.info("stream.client_stalled", stalled_s=self._stalled_s)
        finally:
            await self._pieces.aclose()


class _ClientStalled(Exception):
    """The client does not read."""


def sse_event(data: object, *, name: str | None = None, event_id: str | None = None) -> bytes:
    """Return one event with JSON data, which never has a line break in it."""
    prefix = f"event: {name}\n".encode() if name else b""
    suffix = f"\nid: {event_id}\n\n".encode() if event_id else b"\n\n"
    return prefix + b"data: " + to_json(data) + suffix


class StreamFormat(ABC):
    """How one route writes its stream. Every method returns whole events."""

    def begin(self) -> bytes:
        """Return what comes before the answer."""
        return b""

    @abstractmethod
    def text(self, text: str, position: StreamPosition) -> bytes:
        """Return the next text of the answer, at `position`, which a format with event ids advances."""

    def reset(self) -> bytes | None:
        """Return what takes back the text so far; None if the format has no word for that."""
        return None

    @abstractmethod
    def finish(self, reply: Reply) -> bytes:
        """Return the end of a stream whose answer was sent in full."""

    @abstractmethod
    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the end of a stream without a (whole) answer."""

    def heartbeat(self) -> bytes:
        """Return what keeps a silent connection open."""
        return HEARTBEAT


async def stream_events(
    listener: ReplyListener,
    stream: StreamFormat,
    *,
    give_up_at: float,
    on_timeout: Callable[[], ApiError],
    resume_at: ResumePoint | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[bytes, None]:
    """Yield the events of a running (or finished) request until its end, or until the listener is dismissed.

    It ends with `on_timeout` at `give_up_at`, on the scale of `clock`. After `heartbeat_s` of silence a
    heartbeat keeps the connection open.
    """
    cursor = AnswerCursor(resume_at)
    patient_until = clock() + RESUME_PATIENCE_S
    yield stream.begin()
    while True:
        reply = listener.reply
        if reply is None and listener.dismissed:
            return
        if reply is not None and (error := error_of(reply)) is not None:
            yield stream.fail(error, reply)
            return
        content = reply.content if reply else None
        match cursor.step(listener.answer.so_far.text, content, patient=clock() < patient_until):
            case str(text):
                yield stream.text(text, cursor.position)
            case Step.RESET:
                reset = stream.reset()
                if reset is None:
                    yield stream.fail(_replaced(reply), reply)
                    return
                yield reset
            case Step.FINISH if reply is not None:
                yield stream.finish(reply)
                return
            case _:
                left_s = give_up_at - clock()
                if left_s <= 0:
                    yield stream.fail(on_timeout().error, None)
                    return
                if not await listener.changed_within(min(left_s, heartbeat_s)):
                    yield stream.heartbeat()


def _replaced(reply: Reply | None) -> ErrorInfo:
    withdrawn = reply is not None and reply.finish_reason == "content_filter"
    return ANSWER_WITHDRAWN if withdrawn else ANSWER_REPLACED


class EventStreamResponse(TimedStream):
    """A stream of events that closes its listener, however it ends.

    `on_leave` is called if the client leaves (or stalls) before the reply is there.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        listener: ReplyListener,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        stalled_s: float = STALLED_S,
        on_leave: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(self._to_the_end(events), headers={**headers, **_HEADERS}, stalled_s=stalled_s)
        self._listener = listener
        self._on_leave = on_leave
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
            self._note_leave()
        except ClientDisconnect:  # with any other fault this process stops, and the client has not left
            self._note_leave()
            raise
        finally:
            self._listener.close()

    def _note_leave(self) -> None:
        if not self._ended and self._listener.reply is None:
            self._on_leave()

    async def _to_the_end(self, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(events):
            async for event in events:
                yield event
        self._ended = True

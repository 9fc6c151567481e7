"""The loop that turns a running request into events, and the response that carries them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from ingest.anthropic.messages import MessageStream
from ingest.errors import timed_out
from ingest.follow.answer_cursor import MAX_STEP_CHARS, StreamPosition, parse_event_id
from ingest.follow.reply_hub import ReplyHub, ReplyListener
from ingest.follow.sse import (
    HEARTBEAT,
    RESUME_PATIENCE_S,
    EventStreamResponse,
    StreamFormat,
    sse_event,
    stream_events,
)
from ingest.native.chat import ChatStream, RequestEvents
from ingest.openai.chat_completions import CompletionStream
from streams.events import Delta, Status
from tests.ingest.fakes import answered, blocked
from tests.ingest.sse_reader import events


def _listener() -> ReplyListener:
    return ReplyHub(max_listeners=1).listen("r-1")


def _openai() -> CompletionStream:
    return CompletionStream("r-1", model="gpt-4o", created=1, include_usage=False)


async def _read(listener: ReplyListener, shape: StreamFormat, *, give_up_at: float = 60.0) -> str:
    stream = stream_events(
        listener, shape, give_up_at=give_up_at, on_timeout=lambda: timed_out("r-1", 5), clock=lambda: 0.0
    )
    return b"".join([frame async for frame in stream]).decode()


def test_an_event_is_one_line_of_json() -> None:
    """Line breaks in the text stay inside the JSON string."""
    assert sse_event({"token": "a\n\nb"}) == b'data: {"token":"a\\n\\nb"}\n\n'
    assert sse_event({}, name="reset") == b"event: reset\ndata: {}\n\n"
    assert sse_event({}, event_id="0-0") == b"data: {}\nid: 0-0\n\n"


async def test_a_silent_request_gets_heartbeats_until_it_is_given_up() -> None:
    """Comments first, which clients skip; then the error, and no end mark."""
    times = iter([0.0] * 7 + [99.0] * 2)  # two looks a turn, and one at the beginning
    stream = stream_events(
        _listener(),
        ChatStream("r-1"),
        give_up_at=60.0,
        on_timeout=lambda: timed_out("r-1", 5),
        heartbeat_s=0.0,
        clock=lambda: next(times),
    )
    sent = [frame async for frame in stream if frame]
    assert sent[:3] == [HEARTBEAT] * 3
    assert events(sent[3].decode())[0][1]["error"]["code"] == "deadline_exceeded"
    assert len(sent) == 4


async def test_a_silent_messages_stream_gets_pings() -> None:
    """Anthropic's own event for silence, after `message_start`, and before there is any block."""
    shape = MessageStream("r-1", model="gpt-4o")
    listener = _listener()
    stream = stream_events(
        listener,
        shape,
        give_up_at=60.0,
        on_timeout=lambda: timed_out("r-1", 5),
        heartbeat_s=0.0,
        clock=lambda: 0.0,
    )
    names = [name for _ in range(3) for name, _ in events((await anext(stream)).decode())]
    assert names == ["message_start", "ping", "ping"]
    listener.resolve(answered())
    rest = events(b"".join([frame async for frame in stream]).decode())
    assert "".join(data["delta"]["text"] for name, data in rest if name == "content_block_delta") == (
        "Paris is the capital."
    )


@pytest.mark.parametrize("shape", [ChatStream("r-1"), RequestEvents("r-1"), _openai()])
async def test_a_block_after_the_headers_is_an_error_event(shape: StreamFormat) -> None:
    """Where the status was already sent."""
    listener = _listener()
    listener.resolve(blocked())
    errors = [data for _, data in events(await _read(listener, shape)) if data.get("error")]
    assert errors[0]["error"]["code"] == "content_filter"


async def test_an_answer_withdrawn_midway_says_why() -> None:
    """An OpenAI stream cannot take text back, so it ends with the content filter's error."""
    hub = ReplyHub(max_listeners=1)
    listener = hub.listen("r-1")
    hub.on_delta(Delta(request_id="r-1", attempt=1, seq=0, text="rm -rf"))
    stream = stream_events(
        listener, _openai(), give_up_at=1.0, on_timeout=lambda: timed_out("r", 1), clock=lambda: 0
    )
    got = [await anext(stream), await anext(stream)]
    listener.resolve(answered(content="Withheld.", status=Status.BLOCKED, finish_reason="content_filter"))
    got += [frame async for frame in stream]
    read = events(b"".join(got).decode())
    assert read[-1][1]["error"]["code"] == "content_filter"
    assert "Withheld" not in str(read)


async def _serve(response: EventStreamResponse, send: object) -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    await response(scope, receive, send)  # type: ignore[arg-type]


async def _endless(closed: list[bool]) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield b": x\n\n"
            await asyncio.sleep(0)
    finally:
        closed.append(True)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """And its place is free again."""
    hub, closed = ReplyHub(max_listeners=1), list[bool]()

    async def stuck(_message: Message) -> None:
        await asyncio.Event().wait()

    left: list[bool] = []
    stream = EventStreamResponse(
        _endless(closed), hub.listen("r"), stalled_s=0.01, on_leave=lambda: left.append(True)
    )
    await _serve(stream, stuck)
    assert hub.in_flight == 0
    assert left == [True]


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_client_that_leaves_is_noted_once(spec_version: str) -> None:
    """Servers say it by a message, or, since ASGI 2.4, by an exception at the next write."""
    hub, closed, left = ReplyHub(max_listeners=1), list[bool](), list[bool]()
    stream = EventStreamResponse(_endless(closed), hub.listen("r"), on_leave=lambda: left.append(True))

    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if spec_version == "2.4" and message["type"] == "http.response.body":
            raise OSError

    with suppress(ClientDisconnect):
        await stream({"type": "http", "asgi": {"spec_version": spec_version}}, receive, send)
    assert left == [True]
    assert hub.in_flight == 0


async def test_a_stream_that_is_ended_from_here_is_not_left() -> None:
    """Its time was up: the client was told so, and has not gone anywhere."""
    hub, left = ReplyHub(max_listeners=1), list[bool]()
    listener = hub.listen("r-1")
    timed = stream_events(
        listener, _openai(), give_up_at=0, on_timeout=lambda: timed_out("r", 1), clock=lambda: 1.0
    )

    async def send(_message: Message) -> None:
        await asyncio.sleep(0)

    await _serve(EventStreamResponse(timed, listener, on_leave=lambda: left.append(True)), send)
    assert left == []


async def test_a_stream_that_breaks_frees_its_place() -> None:
    """Whatever broke it: the events end, the listener is closed."""
    hub, closed = ReplyHub(max_listeners=1), list[bool]()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 5:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await _serve(EventStreamResponse(_endless(closed), hub.listen("r")), send)
    assert closed == [True]
    assert hub.in_flight == 0


async def test_a_new_attempt_that_stays_shorter_is_not_waited_for_without_end() -> None:
    """A client that comes back with more text than there is now: after a while it is told to start over."""
    hub = ReplyHub(max_listeners=1)
    listener = hub.listen("r-1")
    hub.on_delta(Delta(request_id="r-1", attempt=2, seq=0, text="Paris"))
    now = 0.0
    stream = stream_events(
        listener,
        RequestEvents("r-1"),
        give_up_at=1e9,
        on_timeout=lambda: timed_out("r-1", 5),
        resume_at=parse_event_id(StreamPosition("Paris is the").event_id),
        heartbeat_s=0.0,
        clock=lambda: now,
    )
    assert [await anext(stream) for _ in range(3)] == [b"retry: 1000\n\n", HEARTBEAT, HEARTBEAT]
    now = RESUME_PATIENCE_S
    told = events((await anext(stream) + await anext(stream)).decode())
    assert told == [("reset", {}), ("delta", {"token": "Paris"})]
    await stream.aclose()


async def test_much_text_at_once_comes_in_steps() -> None:
    """A slow client has a step in its connection, not the whole answer."""
    listener = _listener()
    listener.resolve(answered(content="x" * 10_000))
    stream = stream_events(
        listener, RequestEvents("r-1"), give_up_at=1.0, on_timeout=lambda: timed_out("r", 1), clock=lambda: 0
    )
    sizes = [
        sum(len(data["token"]) for name, data in events(frame.decode()) if name == "delta")
        async for frame in stream
    ]
    assert (sum(sizes), max(sizes)) == (10_000, MAX_STEP_CHARS)


async def test_a_dismissed_listener_whose_reply_is_there_gets_it() -> None:
    """The end is near enough."""
    listener = _listener()
    listener.resolve(answered())
    listener.dismiss()
    assert "event: done" in await _read(listener, RequestEvents("r-1"))

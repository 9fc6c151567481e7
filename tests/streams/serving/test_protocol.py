"""What a client may do before its request is known. A real server, real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from streams.serving.protocol import MAX_HEAD_BYTES, BoundedHttp

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, and answer with its length; `/slow` takes its time."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(1.2)
    await PlainTextResponse(f"{length} bytes")(scope, receive, send)


class Impatient(BoundedHttp):
    """The same, for tests that wait for the end of its patience."""

    head_timeout_s = 0.8


Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def serving(protocol: type[BoundedHttp]) -> AsyncIterator[Connect]:
    config = uvicorn.Config(
        echo, host="127.0.0.1", port=0, http=protocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in opened:
            writer.close()
        await server.shutdown()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Return what came until the end, which is a reset where the server closed with bytes unread."""
    pieces = []
    async with asyncio.timeout(10):
        with suppress(ConnectionResetError):
            while piece := await reader.read(65_536):
                pieces.append(piece)
    return b"".join(pieces)


def error_code(response: bytes) -> str:
    code: str = json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"]
    return code


async def test_headers_that_dribble_in_are_refused() -> None:
    """However steadily: a client cannot hold a connection by sending its headers a byte at a time."""
    async with serving(Impatient) as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        for byte in GET[:-2] + b"X-Slow: " + b"." * 1_000:
            if response.done():
                break
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.01)
    assert (await response).startswith(b"HTTP/1.1 408 ")
    assert error_code(await response) == "request_timeout"


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """Without a word: browsers open connections ahead of need."""
    async with serving(Impatient) as connect:
        reader, _ = await connect()
        assert await everything(reader) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\nX-Long: " + b"x" * MAX_HEAD_BYTES,
        b"GET /" + b"x" * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\nHost: here\r\n" + b"X-Many: 1\r\n" * (MAX_HEAD_BYTES // 10),
    ],
    ids=["one header", "the path", "many headers"],
)
async def test_headers_that_do_not_end_are_refused(head: bytes) -> None:
    """Before they fill the memory, and with an error that says so."""
    async with serving(BoundedHttp) as connect:
        reader, writer = await connect()
        writer.write(head)
        response = await everything(reader)
    assert response.startswith(b"HTTP/1.1 431 ")
    assert error_code(response) == "headers_too_large"


async def test_a_long_body_is_no_head() -> None:
    """In one piece with its headers or not; and the next request on the connection is counted anew."""
    body = b"b" * (2 * MAX_HEAD_BYTES)
    post = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(BoundedHttp) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(post + body)
            assert (await reader.readuntil(b"bytes")).endswith(b"%d bytes" % len(body))


async def test_a_response_takes_as_long_as_it_takes() -> None:
    """The patience is for headers only: not for what the server works on, nor for the pause after it."""
    async with serving(Impatient) as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(GET.replace(b"/ ", b"/slow ", 1))
            assert (await reader.readuntil(b"bytes")).endswith(b"0 bytes")
            await asyncio.sleep(1.0)


async def test_half_a_request_behind_a_running_one_does_not_end_that() -> None:
    """The response in progress is whole; then the connection is closed."""
    async with serving(Impatient) as connect:
        reader, writer = await connect()
        writer.write(GET.replace(b"/ ", b"/slow ", 1))
        await asyncio.sleep(0.05)
        writer.write(GET[:10])
        response = await everything(reader)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"0 bytes" in response
    assert b"HTTP/1.1 408 " in response

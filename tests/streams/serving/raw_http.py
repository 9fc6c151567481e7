"""A real server with our protocol, and clients that speak to it byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from streams.serving.http_limits import HttpLimits
from streams.serving.middleware import RequestFrame
from streams.serving.protocol import BoundedHttp

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LIMITS = HttpLimits()

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Echo:
    """Reads the whole body, and answers with its length.

    `/held` answers when it is let go, `/refused` without reading the body, `/headers` with the names of the
    headers.

    Attributes:
        let_go: lets the requests for `/held` go on.
        held: how many wait.
        left: how many clients have left before their body was there.
    """

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.held = 0
        self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["path"] == "/refused":
            await PlainTextResponse("no", status_code=401)(scope, receive, send)
            return
        length = await self._length(receive)
        if length is None:
            self.left += 1
            return
        if scope["path"] == "/held":
            self.held += 1
            await self.let_go.wait()
        text = f"{length} bytes"
        if scope["path"] == "/headers":
            text = ",".join(Request(scope).headers.keys())
        await PlainTextResponse(text)(scope, receive, send)

    async def _length(self, receive: Receive) -> int | None:
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            length, more = length + len(message["body"]), message["more_body"]
        return length


@asynccontextmanager
async def serving(
    app: Any = None, *, protocol: type[BoundedHttp] = BoundedHttp, **limits: float
) -> AsyncIterator[Connect]:
    """Serve `app`, by default an `Echo`, with some limits other than the default ones."""

    class Limited(protocol):  # type: ignore[misc, valid-type]  # the class is a parameter
        pass

    Limited.limits = replace(LIMITS, **limits)  # type: ignore[arg-type]  # counts are whole numbers
    framed = RequestFrame(app or Echo(), logger="test.access")
    config = uvicorn.Config(
        framed, host="127.0.0.1", port=0, http=Limited, lifespan="off", log_config=None, access_log=False
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
    async with asyncio.timeout(20):
        with suppress(ConnectionResetError):
            while piece := await reader.read(65_536):
                pieces.append(piece)
    return b"".join(pieces)


async def answer_to(connect: Connect, request: bytes) -> bytes:
    """Send this on a connection of its own, and return all that comes until its end."""
    reader, writer = await connect()
    writer.write(request)
    return await everything(reader)


async def drip(writer: asyncio.StreamWriter, byte: bytes, until: asyncio.Task[bytes]) -> None:
    """Send a byte at a time until `until` is done."""
    with suppress(ConnectionError):
        while not until.done():
            writer.write(byte)
            await writer.drain()
            await asyncio.sleep(0.01)


def status_of(response: bytes) -> int:
    """The status of the first response."""
    return int(response.split(b" ", 2)[1])


def headers_of(response: bytes) -> dict[str, str]:
    """The headers of the first response, by their names in small letters."""
    lines = response.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def error_of(response: bytes) -> dict[str, Any]:
    """The error object of a refusal, which is the last thing on its connection and has its own id."""
    headers = headers_of(response)
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    error: dict[str, Any] = json.loads(response.partition(b"\r\n\r\n")[2])["error"]
    assert error["request_id"] == headers["x-request-id"] != ""
    return error

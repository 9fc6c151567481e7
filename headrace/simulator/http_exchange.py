"""One HTTP exchange over ASGI: reading the body, answering, streaming, and noticing that the client left."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from headrace.simulator.error_reply import ErrorReply
from streams.tasks import cancel_and_wait, until_disconnect

MAX_BODY_BYTES = 32 * 1024 * 1024

ReplyHeaders = Iterable[tuple[str, str]]


class ClientDeparture:
    """Tells whether the client has closed the connection."""

    def __init__(self, left: asyncio.Future[None]) -> None:
        self._left = left

    @property
    def happened(self) -> bool:
        """Whether the client is gone."""
        return self._left.done()

    async def within(self, seconds: float | None) -> bool:
        """Wait for `seconds` (or for ever), or until the client is gone; tell whether it is."""
        if seconds is None or seconds > 0:
            await asyncio.wait((self._left,), timeout=seconds)
        return self.happened


class HttpExchange:
    """A request and the one response to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    async def body(self) -> bytes:
        """Read the request body.

        Raises:
            ErrorReply: 413, if it is larger than `MAX_BODY_BYTES`.
            ClientDisconnect: If the client leaves meanwhile.
        """
        body = bytearray()
        async for chunk in Request(self._scope, self._receive).stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ErrorReply(413, "Request exceeds the maximum size of 32 MB")
        return bytes(body)

    async def answer(self, status: int, body: bytes, headers: ReplyHeaders) -> None:
        """Send a whole JSON response."""
        await self._begin_json(status, body, headers)
        await self.finish(body)

    async def cut_short(self, body: bytes, headers: ReplyHeaders) -> None:
        """Send half of a response; the server closes the connection when the call returns."""
        await self._begin_json(200, body, headers)
        await self.write(body[: len(body) // 2])

    async def _begin_json(self, status: int, body: bytes, headers: ReplyHeaders) -> None:
        own = [("content-type", "application/json"), ("content-length", str(len(body)))]
        await self.begin(status, [*own, *headers])

    async def open_stream(self, headers: ReplyHeaders) -> None:
        """Begin a stream of events."""
        own = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
        await self.begin(200, [*own, *headers])

    async def begin(self, status: int, headers: ReplyHeaders) -> None:
        """Begin a response with these headers and no other."""
        named = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    @asynccontextmanager
    async def departure(self) -> AsyncIterator[ClientDeparture]:
        """Watch for the client's leaving; only after the body is read."""
        left = asyncio.ensure_future(until_disconnect(self._receive))
        try:
            yield ClientDeparture(left)
        finally:
            await cancel_and_wait(left)

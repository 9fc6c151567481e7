"""One HTTP exchange over ASGI: reading the body, answering, streaming, and noticing that the client left."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send

from streams.tasks import cancel_and_wait, until_disconnect

MAX_BODY_BYTES = 32 * 1024 * 1024

ReplyHeaders = Iterable[tuple[str, str]]


class RequestBodyTooLarge(Exception):
    """The request body is larger than `MAX_BODY_BYTES`."""


class ClientGone(Exception):
    """The client closed the connection before its request was read."""


class ClientDeparture:
    """Tells whether the client has closed the connection."""

    def __init__(self, left: asyncio.Task[None]) -> None:
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
        self._receive = receive
        self._send = send
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    async def body(self) -> bytes:
        """Read the request body.

        Raises:
            RequestBodyTooLarge: If it is larger than `MAX_BODY_BYTES`.
            ClientGone: If the client leaves meanwhile.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > MAX_BODY_BYTES:
                raise RequestBodyTooLarge
            if not event.get("more_body", False):
                return b"".join(parts)

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
        left = asyncio.create_task(_left(self._receive))
        try:
            yield ClientDeparture(left)
        finally:
            await cancel_and_wait(left)


async def _left(receive: Receive) -> None:
    await until_disconnect(receive)

"""One HTTP exchange over ASGI: reading the body, answering, streaming, and noticing that the client left."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from starlette.types import Receive, Scope, Send

MAX_BODY_BYTES = 32 * 1024 * 1024

TRANSPORT = "headrace.transport"
"""The ASGI extension that has the connection's transport, where the simulator's own server runs."""

Headers = Iterable[tuple[str, str]]


class BodyTooLarge(Exception):
    """The request body is larger than `MAX_BODY_BYTES`."""


class ClientGone(Exception):
    """The client closed the connection before its request was read."""


class Departure:
    """Tells whether the client has closed the connection."""

    def __init__(self, left: asyncio.Task[None]) -> None:
        self._left = left

    @property
    def happened(self) -> bool:
        """Whether the client is gone."""
        return self._left.done()

    async def within(self, seconds: float | None) -> bool:
        """Wait for `seconds` (or for ever), or until the client is gone; tell whether it is."""
        if seconds is not None and seconds <= 0:
            return self.happened
        await asyncio.wait((self._left,), timeout=seconds)
        return self.happened


class Exchange:
    """A request and the one response to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport | None = scope.get("extensions", {}).get(TRANSPORT)
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    async def body(self) -> bytes:
        """Read the request body.

        Raises:
            BodyTooLarge: If it is larger than `MAX_BODY_BYTES`.
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
                raise BodyTooLarge
            if not event.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a whole JSON response."""
        await self._begin(status, "application/json", [*headers, ("content-length", str(len(body)))])
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def cut_short(self, body: bytes, headers: Headers) -> None:
        """Send half of a response; the server closes the connection when the call returns."""
        await self._begin(200, "application/json", [*headers, ("content-length", str(len(body)))])
        await self.write(body[: len(body) // 2])

    async def open_raw(self, status: int, headers: Headers) -> None:
        """Begin a response with these headers and no other."""
        named = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    def reset(self) -> None:
        """Reset the connection (RST); without a transport it is closed when the call returns."""
        if self._transport is None:
            return
        linger_none = struct.pack("ii", 1, 0)  # on, for 0 s: the kernel then resets instead of closing
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        self._transport.abort()

    async def open_stream(self, headers: Headers) -> None:
        """Begin a stream of events."""
        await self._begin(200, "text/event-stream; charset=utf-8", [*headers, ("cache-control", "no-cache")])

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _begin(self, status: int, content_type: str, headers: Headers) -> None:
        named = [(b"content-type", content_type.encode())]
        named += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    @asynccontextmanager
    async def departure(self) -> AsyncIterator[Departure]:
        """Watch for the client's leaving; only after the body is read."""
        task = asyncio.create_task(self._leave())
        try:
            yield Departure(task)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

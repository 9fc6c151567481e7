"""A provider over real HTTP that says exactly the bytes that a test gives it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

JSON = "application/json"
EVENTS = "text/event-stream"


class RawProvider:
    """A server that gives the same answer to every request, until it is told another one.

    Attributes:
        base: its address.
        asked: how many requests came.
        head: of the last one.
    """

    def __init__(self) -> None:
        self.base = ""
        self.asked = 0
        self.head = ""
        self._pieces: Sequence[bytes] = ()

    def say(
        self,
        *pieces: bytes,
        content_type: str = EVENTS,
        status: str = "200 OK",
        headers: Sequence[str] = (),
        chunked: bool = False,
    ) -> None:
        """Set the answer.

        Args:
            pieces: of the body, each written by itself; the connection is closed behind the last one.
            content_type: of the body.
            status: the response's status.
            headers: further lines of the head.
            chunked: frame the body so that a client sees it break off, for want of its last chunk.
        """
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", "Connection: close", *headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
            pieces = tuple(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
        self.say_raw("\r\n".join([*lines, "", ""]).encode("latin-1"), *pieces)

    def say_raw(self, *pieces: bytes) -> None:
        """Set the answer, its head included."""
        self._pieces = pieces

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client has left
            self.head = await _read_request(reader)
            self.asked += 1
            for piece in self._pieces:
                writer.write(piece)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def raw_provider() -> AsyncIterator[RawProvider]:
    """Run a server for as long as the block takes."""
    provider = RawProvider()
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0)
    provider.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def saying(
    *pieces: bytes,
    content_type: str,
    status: str = "200 OK",
    headers: Sequence[str] = (),
    chunked: bool = False,
) -> AsyncIterator[str]:
    """Serve one answer to every request; yield the server's address. See `RawProvider.say`."""
    async with raw_provider() as provider:
        provider.say(*pieces, content_type=content_type, status=status, headers=headers, chunked=chunked)
        yield provider.base


def events(*data: bytes) -> Sequence[bytes]:
    """Return server-sent events, one for each piece of JSON."""
    return [b"data: " + each + b"\n\n" for each in data]


async def _read_request(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return head.decode("latin-1")

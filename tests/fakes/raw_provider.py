"""A provider over real HTTP that says exactly the bytes that a test gives it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

JSON = "application/json"
EVENTS = "text/event-stream"


@asynccontextmanager
async def saying(*pieces: bytes, content_type: str, status: str = "200 OK") -> AsyncIterator[str]:
    """Serve one answer to every request; yield the server's address.

    Args:
        pieces: of the body, each written by itself; the connection is closed behind the last one.
        content_type: of the body.
        status: the response's status.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read_request(reader)
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode()
        )
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def events(*data: bytes) -> Sequence[bytes]:
    """Return server-sent events, one for each piece of JSON."""
    return [b"data: " + each + b"\n\n" for each in data]


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))

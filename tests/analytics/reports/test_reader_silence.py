"""The read-only way to a ClickHouse that is there and says nothing: no question waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from analytics.reports import reader as module
from analytics.reports.reader import AnalystReader, Reason
from streams.errors import ClickHouseUnavailable
from tests.analytics.reports.test_reader import ask, question, reader_of, reason

_BEGUN = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[{"a":\r\n'
_READS_ONLY = b'{"readonly":"2"}\n'


@asynccontextmanager
async def silent_after(said: bytes) -> AsyncIterator[AnalystReader]:
    """A reader of a server that says so much of an answer, and then keeps the connection."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        if b"readonly" in await reader.read(1 << 12):  # the question before the first one
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(_READS_ONLY)}\r\n\r\n"
            writer.write(head.encode() + _READS_ONLY)
        else:
            writer.write(said)
            await reader.read()  # until the other side has enough
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connected = reader_of(f"http://reader:secret@127.0.0.1:{port}", "headrace", timeout_s=2)
        yield connected
        await connected.close()
        await asyncio.gather(*filter(None, serving))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Margins for a test's patience."""
    monkeypatch.setattr(module, "_MARGIN_S", 0.25)


async def test_silence_in_a_result_is_an_outage() -> None:
    """The reader of the result, and the slot that it holds, are let go."""
    async with silent_after(_BEGUN) as reader:
        asking = asyncio.create_task(ask(reader, question("SELECT 1 AS a")))
        done, _ = await asyncio.wait([asking], timeout=30)
        assert done, "it waits for ever"
        with pytest.raises(ClickHouseUnavailable, match="broke off a result"):
            await asking


async def test_silence_before_a_result_is_a_slow_query() -> None:
    """The reason that tells its sender what to do."""
    async with silent_after(b"") as reader:
        assert await reason(reader, "SELECT 1 AS a") is Reason.TOO_SLOW

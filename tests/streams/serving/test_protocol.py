"""What a client may send before its request is known, and beside its body. A real server, real sockets."""

import asyncio
import re

import pytest

from tests.streams.serving.raw_http import (
    GET,
    LIMITS,
    Connect,
    Echo,
    answer_to,
    drip,
    error_of,
    everything,
    headers_of,
    serving,
    status_of,
)

CHUNKED = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(*lines: bytes, target: bytes = b"/") -> bytes:
    return b"\r\n".join((b"GET " + target + b" HTTP/1.1", b"Host: here", *lines, b"", b""))


OVERSIZED = {
    "a header": (431, head(b"X-Long: " + b"x" * LIMITS.header_bytes)),
    "the headers": (
        431,
        head(*(b"X-%d: " % n + b"x" * 4_000 for n in range(LIMITS.head_bytes // 4_000 + 1))),
    ),
    "the number of headers": (431, head(*[b"X: 1"] * LIMITS.headers)),
    "the path": (414, head(target=b"/" + b"x" * LIMITS.target_bytes)),
    "the query": (414, head(target=b"/?q=" + b"x" * LIMITS.target_bytes)),
    "the number of trailers": (431, CHUNKED + b"0\r\n" + b"X: 1\r\n" * (LIMITS.headers + 1) + b"\r\n"),
    "a trailer": (431, CHUNKED + b"0\r\nX: " + b"x" * LIMITS.header_bytes + b"\r\n\r\n"),
}
CODES = {431: "headers_too_large", 414: "uri_too_long", 413: "request_too_large"}


@pytest.mark.parametrize(("status", "request_"), OVERSIZED.values(), ids=OVERSIZED.keys())
@pytest.mark.parametrize("piece", [1 << 20, 1_000, 7], ids=["one piece", "pieces", "small pieces"])
async def test_what_is_too_large_is_refused_however_it_comes(
    status: int, request_: bytes, piece: int
) -> None:
    """Whole, in packets, or a few bytes at a time; with an error that says what is too large."""
    async with serving() as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        for at in range(0, len(request_), piece):
            writer.write(request_[at : at + piece])
            await asyncio.sleep(0)
        received = await response
    assert (status_of(received), error_of(received)["code"]) == (status, CODES[status])


@pytest.mark.parametrize(
    ("status", "begin", "more"),
    [
        (431, b"GET / HTTP/1.1\r\nHost: here\r\nX-Long: ", b"x"),
        (431, b"GET / HTTP/1.1\r\nHost: here\r\n", b"X-Many: 1\r\n"),
        (431, b"", b"\r\n"),
        (414, b"GET /", b"x"),
        (413, CHUNKED + b"1;x=", b"x"),
        (413, CHUNKED + b"1\r\na\r\n1;x=", b"x"),
        (431, CHUNKED + b"1\r\na\r\n0\r\nX: ", b"x"),
    ],
    ids=["a header", "headers", "lines", "the path", "a chunk", "a later chunk", "a trailer"],
)
async def test_what_does_not_end_is_refused(status: int, begin: bytes, more: bytes) -> None:
    """Before it fills the memory."""
    async with serving() as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        writer.write(begin)
        for _ in range(100):
            writer.write(more * (4_096 // len(more)))
            await asyncio.sleep(0)
            if response.done():
                break
        received = await response
    assert (status_of(received), error_of(received)["code"]) == (status, CODES[status])


async def test_chunk_extensions_and_trailers_are_left_alone() -> None:
    """As long as they are small; a trailer never becomes a header of the request that runs."""
    body = b"3;name=value\r\nabc\r\n0\r\nX-API-Key: late\r\n\r\n"
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(CHUNKED.replace(b"/", b"/headers", 1) + body)
        response = await reader.readuntil(b"transfer-encoding")
        assert b"x-api-key" not in response
        writer.write(CHUNKED + body)
        assert (await reader.readuntil(b"bytes")).endswith(b"3 bytes")


async def test_a_body_in_the_smallest_chunks_is_no_framing() -> None:
    """However many there are: they carry something."""
    chunks = b"1\r\nb\r\n" * LIMITS.framing_bytes
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(CHUNKED + chunks + b"0\r\n\r\n")
        assert (await reader.readuntil(b"bytes")).endswith(b"%d bytes" % LIMITS.framing_bytes)


async def test_a_long_body_is_no_head() -> None:
    """In one piece with its headers or not; and the next request on the connection is counted anew."""
    body = b"b" * (2 * LIMITS.head_bytes)
    post = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(post + body)
            assert (await reader.readuntil(b"bytes")).endswith(b"%d bytes" % len(body))


@pytest.mark.parametrize("begin", [b"", GET[:-2] + b"X-Slow: "], ids=["empty lines", "a header"])
async def test_headers_that_drip_in_are_refused(begin: bytes) -> None:
    """However steadily: a client cannot hold a connection by sending its headers a byte at a time."""
    async with serving(head_timeout_s=1) as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        writer.write(begin)
        await drip(writer, b"." if begin else b"\n", response)
    assert (status_of(await response), error_of(await response)["code"]) == (408, "request_timeout")


async def test_an_answered_client_cannot_hold_its_connection_with_empty_lines() -> None:
    """They are no request, and end the keep-alive."""
    async with serving(head_timeout_s=1) as connect:
        reader, writer = await connect()
        writer.write(GET)
        await reader.readuntil(b"bytes")
        response = asyncio.create_task(everything(reader))
        await drip(writer, b"\n", response)
    assert status_of(await response) == 408


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """Without a word: browsers open connections ahead of need."""
    async with serving(head_timeout_s=1) as connect:
        reader, _ = await connect()
        assert await everything(reader) == b""


async def test_an_idle_connection_is_closed() -> None:
    """Some time after its last response."""
    async with serving(idle_s=1) as connect:
        reader, writer = await connect()
        writer.write(GET)
        assert status_of(await everything(reader)) == 200


@pytest.mark.parametrize("begin", [CHUNKED + b"ff\r\n", GET[:-2] + b"Content-Length: 1000000\r\n\r\n"])
async def test_a_body_that_drips_in_is_refused(begin: bytes) -> None:
    """And the application hears that the client has left."""
    echo = Echo()
    async with serving(echo, body_window_s=1) as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        writer.write(begin)
        await drip(writer, b"b", response)
        assert (status_of(await response), error_of(await response)["code"]) == (408, "request_timeout")
        async with asyncio.timeout(10):
            while not echo.left:
                await asyncio.sleep(0)


async def test_a_body_that_comes_fast_enough_is_waited_for() -> None:
    """Longer than one window, as long as each brings its share."""
    async with serving(body_window_s=1, body_bytes_per_s=10) as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 300\r\n\r\n")
        for _ in range(30):
            writer.write(b"b" * 10)
            await asyncio.sleep(0.1)
        assert (await reader.readuntil(b"bytes")).endswith(b"300 bytes")


async def test_a_response_takes_as_long_as_it_takes() -> None:
    """The patience is for the request: not for what the server works on, nor for the pause after it."""
    echo = Echo()
    async with serving(echo, head_timeout_s=1, body_window_s=1) as connect:
        reader, writer = await connect()
        for _ in range(2):
            echo.let_go.clear()
            writer.write(GET.replace(b"/ ", b"/held ", 1))
            await asyncio.sleep(1.5)
            echo.let_go.set()
            assert (await reader.readuntil(b"bytes")).endswith(b"0 bytes")
            await asyncio.sleep(1.5)


@pytest.mark.parametrize(
    ("after", "status"),
    [(GET[:10], 408), (b"nonsense", 400), (CHUNKED + b"xyz\r\n", 400)],
    ids=["half a request", "no request", "a malformed body"],
)
async def test_what_is_wrong_behind_a_running_request_does_not_end_that(after: bytes, status: int) -> None:
    """The response in progress is whole; then the error follows, and the end."""
    echo = Echo()
    async with serving(echo, head_timeout_s=1) as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        writer.write(GET.replace(b"/ ", b"/held ", 1) + after)
        await asyncio.sleep(1.5)
        echo.let_go.set()
        received = await response
    first, _, second = received.partition(b"0 bytes")
    assert (status_of(first), status_of(second)) == (200, status)
    error_of(second)


async def test_requests_sent_ahead_are_answered_in_order_and_bounded() -> None:
    """All that may wait are answered; then the connection ends with an error."""
    echo = Echo()
    async with serving(echo, pipelined=3) as connect:
        reader, writer = await connect()
        response = asyncio.create_task(everything(reader))
        writer.write(GET.replace(b"/ ", b"/held ", 1) + GET * 1_000)
        async with asyncio.timeout(10):
            while not echo.held:
                await asyncio.sleep(0)
        echo.let_go.set()
        received = await response
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200"] * 4 + [b"400"]
    assert error_of(received[received.index(b"HTTP/1.1 400") :])["code"] == "malformed_request"


async def test_a_connection_too_many_takes_the_place_of_an_idle_one() -> None:
    """Where all are at work, it is told to come back; those at work are not disturbed."""
    echo = Echo()
    async with serving(echo, connections=2) as connect:
        working = [await work(connect, echo)]
        idle, _ = await connect()
        working.append(await work(connect, echo))
        assert await everything(idle) == b""
        refused = await answer_to(connect, GET)
        assert (status_of(refused), error_of(refused)["code"]) == (503, "overloaded")
        assert headers_of(refused)["retry-after"] == "1"
        echo.let_go.set()
        for reader in working:
            assert (await reader.readuntil(b"bytes")).endswith(b"0 bytes")


async def work(connect: Connect, echo: Echo) -> asyncio.StreamReader:
    """Send a request on a connection of its own, and return it once the server works on it."""
    held = echo.held
    reader, writer = await connect()
    writer.write(GET.replace(b"/ ", b"/held ", 1))
    async with asyncio.timeout(10):
        while echo.held == held:
            await asyncio.sleep(0)
    return reader

"""How connections end whose clients still send, or do not read. A real server, real sockets."""

import asyncio

import pytest

from tests.streams.serving.raw_http import (
    GET,
    drip,
    everything,
    headers_of,
    serving,
    status_of,
)

ENDLESS = b"POST /refused HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000000\r\n\r\n"


async def test_the_answer_arrives_though_the_client_still_sends() -> None:
    """All of its body, before it reads the response: closing at once would reset the connection."""
    body = b"b" * 20_000_000
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"POST /refused HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
        async with asyncio.timeout(20):
            response = await reader.read()  # a reset would raise
    assert (status_of(response), headers_of(response)["connection"]) == (401, "close")


async def test_thirty_clients_that_drip_after_their_refusal_are_all_closed() -> None:
    """In a bounded time; meanwhile others are served."""
    async with serving(linger_s=1) as connect:
        dripping = []
        for _ in range(30):
            reader, writer = await connect()
            writer.write(ENDLESS)
            response = asyncio.create_task(everything(reader))
            dripping.append((response, asyncio.create_task(drip_for_ever(writer))))
        reader, writer = await connect()
        writer.write(GET)
        assert (await reader.readuntil(b"bytes")).endswith(b"0 bytes")
        async with asyncio.timeout(20):
            for response, drops in dripping:
                assert status_of(await response) == 401
                await drops  # the connection is gone, not only its sending side


async def drip_for_ever(writer: asyncio.StreamWriter) -> None:
    """Send a byte at a time until the connection is gone."""
    never: asyncio.Task[bytes] = asyncio.create_task(asyncio.sleep(3_600, b""))
    await drip(writer, b"b", never)
    never.cancel()


async def test_a_client_that_floods_is_cut_off() -> None:
    """After a bounded number of bytes."""
    async with serving(linger_s=60, linger_bytes=1_000_000) as connect:
        _, writer = await connect()
        writer.write(ENDLESS)
        with pytest.raises(ConnectionError):
            await flood(writer)


async def flood(writer: asyncio.StreamWriter) -> None:
    """Send without an end."""
    async with asyncio.timeout(20):
        while True:
            writer.write(b"b" * 100_000)
            await writer.drain()
            await asyncio.sleep(0)


async def test_a_response_that_nobody_reads_is_broken_off() -> None:
    """The connection ends, whatever waits in it."""

    async def much(scope: object, receive: object, send: object) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"b" * 50_000_000})  # type: ignore[operator]

    async with serving(much, flush_s=1) as connect:
        reader, writer = await connect()
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2)  # and reads nothing
        assert len(await everything(reader)) < 50_000_000


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_refused_client_is_not_asked_for_its_body(version: bytes) -> None:
    """`Expect: 100-continue` is answered with the refusal alone, and never over HTTP/1.0."""
    expecting = b"POST /refused HTTP/" + version + b"\r\nHost: here\r\nExpect: 100-continue\r\n"
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(expecting + b"Content-Length: 9\r\n\r\n")
        response = await everything(reader)
    assert status_of(response) == 401
    assert b"100 Continue" not in response


async def test_a_client_that_waits_is_asked_for_its_body() -> None:
    """Once somebody wants it; the connection lives on."""
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(
                b"POST / HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            )
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"b" * 9)
            assert (await reader.readuntil(b"bytes")).endswith(b"9 bytes")

"""Clients without manners at each HTTP server of the running system, from the outside and without a key."""

import asyncio
import json
import time
from urllib.parse import urlsplit

import psutil
import pytest

from streams.serving.http_limits import HttpLimits
from tests.acceptance.conftest import System
from tests.streams.serving.raw_http import drip, error_of, everything, headers_of, status_of

pytestmark = pytest.mark.acceptance

LIMITS = HttpLimits()
EACH = 30
"""Connections of each kind at each server."""
CLOSED_S = LIMITS.head_timeout_s + LIMITS.linger_s + 15
"""Within that a connection is gone, whatever its client does: the limits, and a busy machine's share."""
GROWTH_BYTES = 60 * 1024 * 1024

BEGINNINGS = {
    "a request line": (b"GET /li", b"v"),
    "headers": (b"GET /live HTTP/1.1\r\nHost: here\r\nX-Slow: ", b"x"),
    "empty lines": (b"", b"\n"),
    "a body": (b"POST /v1/chat HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n", b"b"),
    "chunks": (b"POST /v1/chat HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "the body of a GET": (b"GET /live HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n", b"b"),
}


def servers(system: System) -> dict[str, tuple[str, int]]:
    """Host and port of every HTTP server of ours."""
    worker = system.process("worker-0").port
    assert worker is not None
    found = {
        role: urlsplit(getattr(system.endpoints, role), allow_fragments=False)
        for role in ("ingest", "analytics")
    }
    addresses = {role: (str(url.hostname), int(url.port or 0)) for role, url in found.items()}
    return {**addresses, "worker-0": ("127.0.0.1", worker)}


async def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Send this on a connection of its own, and return all that comes until its end."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    try:
        return await everything(reader)
    finally:
        writer.close()


async def hold(address: tuple[str, int], begin: bytes, byte: bytes) -> float:
    """Drip into a connection until it is gone, and return how many seconds that took."""
    started = time.monotonic()
    _, writer = await asyncio.open_connection(*address)
    writer.write(begin)
    ending = asyncio.create_task(asyncio.sleep(CLOSED_S, b""))
    await drip(writer, byte, ending)
    ending.cancel()
    writer.close()
    return time.monotonic() - started


async def test_whoever_drips_is_closed_and_others_are_served(system: System) -> None:
    """At every server, whatever drips: the memory stays what it was."""
    addresses = servers(system)
    processes = {role: psutil.Process(system.process(role).pid) for role in addresses}
    before = {role: process.memory_info().rss for role, process in processes.items()}
    holding = [
        asyncio.create_task(hold(address, begin, byte))
        for address in addresses.values()
        for begin, byte in BEGINNINGS.values()
        for _ in range(EACH)
    ]
    while not all(each.done() for each in holding):
        for address in addresses.values():
            alive = await ask(address, b"GET /live HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            assert status_of(alive) == 200
        await asyncio.sleep(0.5)
    assert max([await each for each in holding]) < CLOSED_S
    grown = {role: process.memory_info().rss - before[role] for role, process in processes.items()}
    assert max(grown.values()) < GROWTH_BYTES, grown
    assert {role: system.process(role).pid for role in addresses} == {
        role: process.pid for role, process in processes.items()
    }


async def test_a_key_does_not_buy_patience(system: System) -> None:
    """A body that drips is a 408, with a key too."""
    reader, writer = await asyncio.open_connection(*servers(system)["ingest"])
    key = system.endpoints.api_key.encode()
    writer.write(
        b"POST /v1/chat HTTP/1.1\r\nHost: here\r\nContent-Length: 9000\r\nX-API-Key: " + key + b"\r\n\r\n"
    )
    response = asyncio.create_task(everything(reader))
    await drip(writer, b"b", response)
    writer.close()
    assert (status_of(await response), error_of(await response)["code"]) == (408, "request_timeout")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 20000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_what_is_too_large_is_told_though_it_is_still_being_sent(
    system: System, framing: bytes
) -> None:
    """A 413 that arrives, and no reset: with a length before the first byte, in chunks on the way."""
    key = system.endpoints.api_key.encode()
    reader, writer = await asyncio.open_connection(*servers(system)["ingest"])
    writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: here\r\nX-API-Key: " + key + b"\r\n" + framing)
    piece = b"b" * 1_000_000
    for _ in range(20):
        writer.write(piece if b"Length" in framing else b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    async with asyncio.timeout(20):
        response = await reader.read()  # a reset would raise
    writer.close()
    assert status_of(response) == 413
    body = json.loads(response.partition(b"\r\n\r\n")[2])
    assert (body["type"], body["error"]["type"]) == ("error", "request_too_large")


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"GET /live HTTP/1.1\r\n\r\n"),
        (400, b"GET /live HTTP/1.1\r\nHost: evil.example/live?\r\n\r\n"),
        (400, b"GET /live HTTP/2.0\r\nHost: evil.example\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00"),
        (
            400,
            b"POST / HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        ),
        (404, b"GET /live/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        (404, b"GET /%00/%2e%2e/%ff HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        (405, b"TRACE /live HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        (405, b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        (414, b"GET /" + b"x" * LIMITS.target_bytes + b" HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        (431, b"GET /live HTTP/1.1\r\nHost: evil.example\r\n" + b"X: 1\r\n" * LIMITS.headers + b"\r\n"),
    ],
)
async def test_what_is_no_good_request_is_an_error_object(
    system: System, status: int, request_: bytes
) -> None:
    """At every server, with an id, and without the name that the client gave the host."""
    for address in servers(system).values():
        response = await ask(address, request_)
        assert (status_of(response), error_of(response)["type"]) == (status, "invalid_request_error")
        assert b"evil.example" not in response
        assert "location" not in headers_of(response)

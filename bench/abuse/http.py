"""The HTTP attack: raw bytes to a server, and what is wrong with what it answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from random import Random
from typing import Any, cast

import httpx
import msgspec

from bench.abuse import condition
from bench.abuse.receiver import Receiver
from bench.abuse.requests import HttpAttack, HttpAttacks
from bench.abuse.verdict import Verdict, counted
from bench.abuse.witness import Witness
from headrace.up.home import Home

#: Longer than any limit that a server has for an answer to what was asked in whole.
_ANSWER_S = 75.0
_AT_ONCE = 12
_MAX_RESPONSE_BYTES = 4 * 1024 * 1024
_PER_ROUND = 200
_SETTLE_S = 120.0
_TIMEOUT_S = 30.0


class Answered(msgspec.Struct, frozen=True):
    """What came back for one attack."""

    status: int | None
    headers: dict[str, str]
    body: bytes
    fault: str | None = None


async def attack_http(home: Home, *, seed: int, requests: int, growth_mib: int) -> Verdict:
    """Send so many hostile requests to ingest and analytics, and return what did not hold.

    Args:
        home: of a running system that knows the witness: see `bench.abuse.setting`.
        seed: of everything that is random.
        requests: how many, over both servers.
        growth_mib: by how much a process may grow.
    """
    begun, endpoints, sent, statuses = time.monotonic(), home.endpoints(), Counter[str](), Counter[str]()
    faults: list[str] = []
    servers = [(endpoints.ingest, endpoints.api_key, 0.75), (endpoints.analytics, endpoints.admin_key, 0.25)]
    async with Receiver() as receiver, Witness(endpoints.ingest, endpoints.kafka, receiver.url) as witness:
        await witness.round()
        before = condition.processes(home)
        for address, key, share in servers:
            attacks = await _attacks(address, key, seed)
            batch = list(attacks.draw(round(requests * share)))
            sent.update(each.kind for each in batch)
            for begin in range(0, len(batch), _PER_ROUND):
                some = batch[begin : begin + _PER_ROUND]
                found, _ = await asyncio.gather(_send_all(address, some, statuses), witness.round())
                faults += found
        found, after = await condition.closing_faults(
            home, before, witness, receiver, growth_mib=growth_mib, timeout_s=_SETTLE_S
        )
        faults += found
    return Verdict(
        seed=seed,
        sent=dict(sent),
        answered=dict(sorted(statuses.items())),
        witnessed=len(witness.request_ids),
        seconds=round(time.monotonic() - begun, 1),
        memory_mib={role: (was.rss_mib, after[role].rss_mib) for role, was in before.items()},
        faults=counted(faults),
    )


async def _attacks(address: str, key: str, seed: int) -> HttpAttacks:
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers={"Authorization": f"Bearer {key}"}) as client:
        document = (await client.get(f"{address}/openapi.json")).raise_for_status().json()
    return HttpAttacks(
        document, address.removeprefix("http://"), [key], Random(f"{seed} {sorted(document['paths'])}")
    )


async def _send_all(address: str, attacks: Iterable[HttpAttack], statuses: Counter[str]) -> list[str]:
    room, faults = asyncio.Semaphore(_AT_ONCE), list[str]()
    host, _, port = address.removeprefix("http://").partition(":")

    async def send(attack: HttpAttack) -> None:
        async with room:
            answered = await send_raw(host, int(port), attack)
        statuses[str(answered.status)] += 1
        faults.extend(
            f"{attack.kind}: {each}; sent {attack.data[:200]!r}" for each in judge(attack, answered)
        )

    async with asyncio.TaskGroup() as tasks:
        for attack in attacks:
            tasks.create_task(send(attack))
    return faults


async def send_raw(host: str, port: int, attack: HttpAttack) -> Answered:
    """Send the bytes, and return the first response that is no interim one."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, limit=_MAX_RESPONSE_BYTES)
            try:
                writing = asyncio.ensure_future(_write(writer, attack))
                received = await _read(reader)
                await writing
            finally:
                writer.close()
    except TimeoutError:
        return Answered(None, {}, b"", fault="no end of the response in time")
    except OSError as fault:
        return Answered(None, {}, b"", fault=repr(fault))
    return parsed(received, attack)


def parsed(received: bytes, attack: HttpAttack) -> Answered:
    """Return the first final response in what a server sent."""
    while received.startswith(b"HTTP/1.1 1"):
        received = received.partition(b"\r\n\r\n")[2]
    if not received:
        return Answered(None, {}, b"", fault="closed without an answer")
    method = "HEAD" if attack.no_body else "GET"
    response = HTTPResponse(cast("Any", _Socket(received)), method=method)
    try:
        response.begin()
        body = response.read()
    except (HTTPException, ValueError) as fault:
        return Answered(None, {}, received[:200], fault=f"no HTTP: {fault!r}")
    return Answered(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def judge(attack: HttpAttack, answered: Answered) -> list[str]:
    """Return what is wrong with an answer."""
    if answered.status is None:
        return [answered.fault or "no status"] if attack.ended else []
    found = []
    if answered.status >= 500 and answered.status != 503 and not _is_deadline(answered):
        found.append(f"{answered.status} {answered.body[:300]!r}")
    if "x-request-id" not in answered.headers:
        found.append(f"{answered.status} without X-Request-ID")
    if answered.status >= 400 and not attack.no_body and not _is_error(answered.body):
        found.append(f"{answered.status} without an error object: {answered.body[:200]!r}")
    if "elsewhere.example" in str(answered.headers):
        found.append(f"{answered.status} reflects the host: {answered.headers}")
    return found


def _is_deadline(answered: Answered) -> bool:
    """Whether it is what somebody gets who asked for an answer within a millisecond."""
    return answered.status == 504 and b'"deadline_exceeded"' in answered.body


def _is_error(body: bytes) -> bool:
    try:
        error = json.loads(body)["error"]
        return bool(error["message"]) and bool(error["type"])
    except (ValueError, KeyError, TypeError):
        return False


async def _write(writer: asyncio.StreamWriter, attack: HttpAttack) -> None:
    try:
        writer.write(attack.data)
        await writer.drain()
        if not attack.ended:
            writer.write_eof()
    except OSError:
        pass  # the server has answered and gone: what it said is what counts


async def _read(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    try:
        while len(received) < _MAX_RESPONSE_BYTES and (some := await reader.read(65_536)):
            received += some
    except ConnectionResetError:
        if not received:
            raise
    return bytes(received)


class _Socket:
    """What `http.client` wants of a socket whose bytes are all here."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, *_: object) -> BytesIO:
        return BytesIO(self._received)

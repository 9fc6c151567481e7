"""Streams that break, anywhere: the client comes back to any replica and gets the next character."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx
import pytest

from bench.event_stream import Follower
from headrace.embedded.process import free_port
from ingest.follow.answer_cursor import StreamPosition
from tests.acceptance.conftest import System, clean_environ, unique, wait_for

pytestmark = pytest.mark.acceptance

#: About 230 tokens: letters of one to four bytes, characters of several code points, and line breaks.
ANSWER = " ".join(
    f"{number}. Zürich – naïve 北京 👩‍🚀 e\u0301 “quoted” \\n is not a line break,\r\n this is;"
    for number in range(1, 9)
)
_PACE = 25
_AT_ONCE = 2_000
#: So slow that a process can be stopped before the answer has ended.
_SLOWER_PACE = 15
#: So slow that a process can be started again before the answer has ended.
_SLOW_PACE = 10
_TIMEOUT_S = 60.0


@pytest.fixture
def slow(healthy: System) -> System:
    """The running system, whose provider takes some seconds for its answer."""
    return _at_pace(healthy, _PACE)


def _at_pace(system: System, tokens_per_second: float) -> System:
    system.behave(
        latency={"tokens_per_second": tokens_per_second},
        answers=[{"prompt_contains": "resume me", "text": ANSWER, "chunk_chars": [3, 5, 2, 7]}],
    )
    return system


@pytest.fixture
async def session(system: System) -> AsyncIterator[aiohttp.ClientSession]:
    """HTTP with the system's key, and as many connections as wanted."""
    headers = {"Authorization": f"Bearer {system.endpoints.api_key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        yield session


def submit(system: System) -> str:
    """Send a request whose answer is streamed to whoever follows it."""
    body = {"query": unique("resume me"), "user_id": "acceptance", "stream": True}
    response = system.http.post("/v1/requests", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["request_id"])


def status(system: System, request_id: str) -> str:
    """Return how far a request is."""
    return str(system.http.get(f"/v1/requests/{request_id}").json()["status"])


async def gather(awaitables: Iterable[Awaitable[Any]]) -> list[Any]:
    """Wait for all of them, but not for ever."""
    async with asyncio.timeout(_TIMEOUT_S):
        return list(await asyncio.gather(*awaitables))


class Replica(NamedTuple):
    """A second ingest."""

    base: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def replica(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """Another ingest, started once: it takes as long as the tests. The last of them stops it."""
    with second_replica(system, tmp_path_factory.mktemp("replica")) as running:
        yield running


@contextmanager
def second_replica(system: System, tmp_path: Path) -> Iterator[Replica]:
    """Run another ingest, which reads every other partition."""
    port = free_port()
    given = {
        "KAFKA_BOOTSTRAP": system.endpoints.kafka,
        "REDIS_URL": system.endpoints.redis,
        "CLICKHOUSE_URL": system.endpoints.clickhouse,
        "API_KEY": system.endpoints.api_key,
        "INGEST_PORT": str(port),
        "INGEST_REPLICA": "1",
        "INGEST_REPLICAS": "2",
    }
    environ = clean_environ() | {f"HEADRACE_{name}": value for name, value in given.items()}
    base = f"http://127.0.0.1:{port}"
    with (tmp_path / "ingest-1.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "ingest"], env=environ, cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            assert wait_for(lambda: ready(base), 60), (tmp_path / "ingest-1.log").read_text()[-2000:]
            yield Replica(base, process)
        finally:
            process.kill()
            process.wait(timeout=10)


def ready(base: str) -> bool:
    """Whether an ingest serves."""
    try:
        return httpx.get(f"{base}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_client_dropped_at_any_event_misses_nothing(
    slow: System, session: aiohttp.ClientSession
) -> None:
    """One client for each event: it drops after it, while the answer is being written, and comes back."""
    request_id = submit(slow)
    base = slow.endpoints.ingest
    clients = [Follower(session, request_id) for _ in range(120)]
    ended = await gather(each.read(base, events=at) for at, each in enumerate(clients))
    assert ended.count(False) > 30, "most of them must have dropped before the end"
    await gather(each.read_to_the_end([base]) for each in clients)
    assert {each.text for each in clients} == {ANSWER}
    assert {each.resets for each in clients} == {0}


async def test_one_event_a_connection(slow: System, session: aiohttp.ClientSession) -> None:
    """A client whose connection never holds."""
    client = Follower(session, submit(slow))
    await gather([client.read_to_the_end([slow.endpoints.ingest], events=1)])
    assert (client.text, client.resets) == (ANSWER, 0)
    assert client.drops >= len(client.ids) - 1 > 20


async def test_every_place_of_an_answer_that_has_ended(
    healthy: System, session: aiohttp.ClientSession
) -> None:
    """By header and by parameter: exactly the characters after it, then `done`; never a reset.

    Every id that the stream had, and others in between: an id may stand after any character.
    """
    system = _at_pace(healthy, _AT_ONCE)
    whole = Follower(session, submit(system))
    await gather([whole.read_to_the_end([system.endpoints.ingest])])
    assert whole.text == ANSWER
    places = {StreamPosition(ANSWER[:at]).event_id for at in range(1, len(ANSWER), 5)} | set(whole.ids)

    async def come_back(event_id: str, *, as_parameter: bool) -> None:
        client = Follower(session, whole.request_id)
        client.last_event_id = event_id
        assert await client.read(system.endpoints.ingest, as_parameter=as_parameter)
        assert client.text == ANSWER[int(event_id.partition("-")[0]) :]
        assert client.resets == 0
        assert client.reply is not None
        assert client.reply["content"] == ANSWER

    for as_parameter in (False, True):
        await gather(come_back(each, as_parameter=as_parameter) for each in places)
    other = Follower(session, whole.request_id)
    other.last_event_id = f"{len(ANSWER) // 2}-0123456789ab"
    assert await other.read(system.endpoints.ingest)
    assert (other.text, other.resets) == (ANSWER, 1)


def test_an_id_that_is_none_of_ours(system: System) -> None:
    """400 that says what to send."""
    path = f"/v1/requests/{submit(system)}/events"
    response = system.http.get(path, headers={"Last-Event-ID": "17"})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_event_id", "Last-Event-ID")
    assert "last event" in error["message"]


async def test_ingest_is_killed_in_the_middle(healthy: System, session: aiohttp.ClientSession) -> None:
    """All its clients come back at once, and go on at the next character before the answer has ended."""
    system = _at_pace(healthy, _SLOW_PACE)
    clients = [Follower(session, submit(system)) for _ in range(8)]
    clients += [Follower(session, each.request_id) for each in clients for _ in range(4)]
    base = system.endpoints.ingest
    following = [asyncio.create_task(each.read_to_the_end([base])) for each in clients]
    async with asyncio.timeout(_TIMEOUT_S):
        while min(len(each.text) for each in clients) < 30:
            await asyncio.sleep(0.05)
        system.kill("ingest")
        while not any(each.drops for each in clients):
            await asyncio.sleep(0.05)
        before = [len(each.text) for each in clients]
        while not all(len(each.text) > had for each, had in zip(clients, before, strict=True)):
            await asyncio.sleep(0.05)
        assert all(each.reply is None for each in clients), "they must go on before the answer has ended"
        texts = await asyncio.gather(*following)
    assert set(texts) == {ANSWER}
    assert {each.resets for each in clients} == {0}
    assert all(each.drops for each in clients)


async def test_two_replicas_in_turn(slow: System, session: aiohttp.ClientSession, replica: Replica) -> None:
    """Requests of all partitions, each followed on one replica after the other, three events at a time."""
    clients = [Follower(session, submit(slow)) for _ in range(12)]
    bases = [slow.endpoints.ingest, replica.base]
    await gather(each.read_to_the_end(bases, events=3) for each in clients)
    assert {each.text for each in clients} == {ANSWER}
    assert {each.resets for each in clients} == {0}
    # Without the deltas of the other replica's partitions all would come at the end, in one connection.
    assert min(each.drops for each in clients) > 10


async def test_a_replica_that_stops_sends_its_followers_elsewhere(
    healthy: System, session: aiohttp.ClientSession, replica: Replica
) -> None:
    """Their streams end cleanly at once, without `done`; the process does not wait for the answers."""
    system = _at_pace(healthy, _SLOWER_PACE)
    clients = [Follower(session, submit(system)) for _ in range(6)]
    connections = [asyncio.create_task(each.read(replica.base)) for each in clients]
    async with asyncio.timeout(_TIMEOUT_S):
        while min(len(each.text) for each in clients) < 30:
            await asyncio.sleep(0.05)
    replica.process.send_signal(signal.SIGTERM)
    assert await gather(connections) == [False] * len(clients)
    assert replica.process.wait(timeout=15) == 0
    assert {status(system, each.request_id) for each in clients} == {"running"}
    await gather(each.read_to_the_end([system.endpoints.ingest]) for each in clients)
    assert {each.text for each in clients} == {ANSWER}
    assert {each.resets for each in clients} == {0}

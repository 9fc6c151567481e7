"""`GET /v1/requests/{id}?wait_s=…`: the reply as soon as it is there, the state if it is not."""

import asyncio

import httpx
import pytest

from ingest.submit import request_reply
from tests.ingest.fakes import Entry, Rig, answered


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is asked every 10 ms."""
    monkeypatch.setattr(request_reply, "POLL_S", 0.01)


def pending(wired: Rig, request_id: str = "r-1") -> None:
    wired.registry.entries[request_id] = Entry("acme", "", "", "running")


async def poll(client: httpx.AsyncClient, wait_s: object = 50) -> httpx.Response:
    async with asyncio.timeout(20):
        return await client.get("/v1/requests/r-1", params={"wait_s": str(wait_s)})


async def somebody_waits(wired: Rig) -> None:
    """Return once somebody waits."""
    async with asyncio.timeout(10):
        while not wired.services.hub.in_flight:
            await asyncio.sleep(0)


async def test_a_reply_that_is_there_is_not_waited_for(wired: Rig, client: httpx.AsyncClient) -> None:
    """It comes at once."""
    wired.registry.settle(answered())
    response = await poll(client)
    assert (response.status_code, response.json()["status"]) == (200, "answered")


async def test_it_ends_when_the_reply_passes_by(
    wired: Rig, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the registry would not be asked again for a long while."""
    monkeypatch.setattr(request_reply, "POLL_S", 1e6)
    pending(wired)
    asked = asyncio.create_task(poll(client))
    await somebody_waits(wired)
    await asyncio.sleep(0.05)  # it has asked the registry, and only listens now
    wired.registry.settle(answered())
    wired.services.hub.on_reply(answered(), b"somebody")
    assert (await asked).json()["content"] == "Paris is the capital."
    assert wired.services.hub.in_flight == 0


async def test_it_ends_when_the_registry_has_the_reply(wired: Rig, client: httpx.AsyncClient) -> None:
    """For requests whose replies pass another replica."""
    pending(wired)
    asked = asyncio.create_task(poll(client))
    await somebody_waits(wired)
    wired.registry.settle(answered())
    assert (await asked).json()["status"] == "answered"
    assert wired.services.hub.in_flight == 0


async def test_no_reply_in_time(wired: Rig, client: httpx.AsyncClient) -> None:
    """The state, as without waiting."""
    pending(wired)
    at_once = (await client.get("/v1/requests/r-1")).json()
    response = await poll(client, 0.05)
    assert response.status_code == 200
    assert response.json().keys() == at_once.keys()
    assert response.json()["status"] == "running"
    assert wired.services.hub.in_flight == 0


async def test_a_replica_that_ends_lets_go(wired: Rig, client: httpx.AsyncClient) -> None:
    """The client asks again, and comes to another."""
    pending(wired)
    asked = asyncio.create_task(poll(client))
    await somebody_waits(wired)
    wired.services.hub.dismiss_followers()
    assert (await asked).json()["status"] == "running"


async def test_redis_goes_away_meanwhile(wired: Rig, client: httpx.AsyncClient) -> None:
    """503 in the end, as without waiting."""
    pending(wired)
    asked = asyncio.create_task(poll(client, 0.1))
    await somebody_waits(wired)
    wired.registry.broken = True
    assert (await asked).status_code == 503


async def test_so_many_may_wait(wired: Rig, client: httpx.AsyncClient) -> None:
    """As for every route on which somebody waits."""
    pending(wired)
    listeners = [wired.services.hub.listen("r-2") for _ in range(8)]
    assert (await poll(client)).status_code == 503
    for listener in listeners:
        listener.close()


async def test_not_for_others(wired: Rig, client: httpx.AsyncClient) -> None:
    """What is not there is not waited for."""
    wired.registry.entries["r-1"] = Entry("zeta", "", "", "running")
    assert (await poll(client)).status_code == 404


@pytest.mark.parametrize("wait_s", [-1, 56, "nan", "inf", "soon"])
async def test_how_long_is_bounded(client: httpx.AsyncClient, wait_s: object) -> None:
    """No number of seconds up to 55: 400, and the parameter is named."""
    response = await poll(client, wait_s)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "wait_s")

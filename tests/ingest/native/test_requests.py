"""`/v1/requests`: submit, fetch, cancel."""

from decimal import Decimal

import httpx
import pytest

from streams.events import Reply, Status
from tests.ingest.fakes import OTHER_KEY, Entry, Rig, answered, failed

QUESTION = {"user_id": "ada", "query": "capital of France?"}


async def test_submit_answers_at_once(wired: Rig, client: httpx.AsyncClient) -> None:
    """202 with where the reply will be; nobody waits."""
    response = await client.post("/v1/requests", json=QUESTION)
    request_id = wired.pipeline.sent[0].key
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/requests/{request_id}"
    assert response.headers["x-request-id"] == request_id
    body = response.json()
    assert body.pop("stream_token")
    assert body.pop("stream_token_expires_at")
    assert body == {
        "request_id": request_id,
        "status": "pending",
        "url": f"/v1/requests/{request_id}",
        "events_url": f"/v1/requests/{request_id}/events",
    }
    assert wired.services.hub.in_flight == 0


async def test_submit_again_after_the_reply(wired: Rig, client: httpx.AsyncClient) -> None:
    """The stored reply, marked as a repeat."""
    headers = {"Idempotency-Key": "order-7"}
    first = (await client.post("/v1/requests", json=QUESTION, headers=headers)).json()
    wired.registry.settle(answered(first["request_id"]))
    second = await client.post("/v1/requests", json=QUESTION, headers=headers)
    assert (second.status_code, second.json()["repeat"]) == (200, True)


async def test_submit_while_it_runs(wired: Rig, client: httpx.AsyncClient) -> None:
    """202 that says so; it is not published again."""
    headers = {"Idempotency-Key": "order-7"}
    first = (await client.post("/v1/requests", json=QUESTION, headers=headers)).json()
    wired.registry.entries[first["request_id"]].state = "running"
    second = await client.post("/v1/requests", json=QUESTION, headers=headers)
    assert (second.status_code, second.json()["status"]) == (202, "running")
    assert len(wired.pipeline.sent) == 1


async def test_fetch_a_running_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """How far it is."""
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    body = (await client.get("/v1/requests/r-1")).json()
    assert (body["request_id"], body["status"]) == ("r-1", "running")


async def test_fetch_a_finished_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """Every field of the reply, also those that have their default."""
    wired.registry.settle(answered("r-1"))
    response = await client.get("/v1/requests/r-1")
    body = response.json()
    assert response.status_code == 200
    assert (body["status"], body["content"], body["cost_usd"]) == (
        "answered",
        "Paris is the capital.",
        0.0000048,
    )
    assert (body["cache_hit"], body["repeat"], body["error"], body["timings"]) == (False, False, None, [])
    assert body["usage"]["output_tokens"] == 5


async def test_fetch_a_failed_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """Fetching it works; the reply says what failed."""
    wired.registry.settle(failed("api_error", "internal_error"))
    response = await client.get("/v1/requests/r-1")
    assert (response.status_code, response.json()["error"]["code"]) == (200, "internal_error")


@pytest.mark.parametrize("path", ["/v1/requests/r-1", "/v1/requests/r-1/events"])
async def test_only_its_tenant_may_read(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """Another tenant gets the very answer that it would get for an id that never was."""
    wired.registry.settle(answered("r-1"))
    theirs = await client.get(path, headers={"Authorization": f"Bearer {OTHER_KEY}"})
    unknown = await client.get(path.replace("r-1", "r-2"))
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.json()["error"]["message"] == unknown.json()["error"]["message"]
    assert wired.services.hub.in_flight == 0


async def test_an_impossible_id_is_not_looked_up(wired: Rig, client: httpx.AsyncClient) -> None:
    """404, though the registry would not answer."""
    wired.registry.broken = True
    assert (await client.get("/v1/requests/a%20b")).status_code == 404


async def test_fetch_without_redis(wired: Rig, client: httpx.AsyncClient) -> None:
    """503, not 404: the reply may well be there."""
    wired.registry.broken = True
    response = await client.get("/v1/requests/r-1")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


# ── cancelling ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["pending", "running"])
async def test_cancel_a_request_that_has_not_ended(wired: Rig, client: httpx.AsyncClient, state: str) -> None:
    """202, twice if asked twice; fetching it says that it is being cancelled."""
    wired.registry.entries["r-1"] = Entry("acme", "", "", state, others=3)
    for _ in range(2):
        response = await client.delete("/v1/requests/r-1")
        assert (response.status_code, response.headers["x-request-id"]) == (202, "r-1")
        assert response.json() == {"request_id": "r-1", "status": "cancelling"}
    assert wired.registry.entries["r-1"].cancelled == "cancelled_by_sender"
    assert (await client.get("/v1/requests/r-1")).json()["status"] == "cancelling"


async def test_cancel_what_is_cancelled(wired: Rig, client: httpx.AsyncClient) -> None:
    """No error: its reply, which says what was spent."""
    wired.registry.settle(Reply(request_id="r-1", status=Status.CANCELLED, cost_usd=Decimal("0.0001")))
    response = await client.delete("/v1/requests/r-1")
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["cost_usd"]) == ("cancelled", 0.0001)


async def test_cancel_what_has_ended(wired: Rig, client: httpx.AsyncClient) -> None:
    """409 that says how, and nothing for an SDK to try again."""
    wired.registry.settle(answered("r-1"))
    response = await client.delete("/v1/requests/r-1")
    assert (response.status_code, response.headers["x-should-retry"]) == (409, "false")
    error = response.json()["error"]
    assert (error["code"], "answered" in error["message"]) == ("request_finished", True)
    assert wired.registry.entries["r-1"].reply == answered("r-1")


async def test_cancel_what_is_not_yours(wired: Rig, client: httpx.AsyncClient) -> None:
    """The words of `GET` for what never was, and it runs on."""
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    theirs = await client.delete("/v1/requests/r-1", headers={"Authorization": f"Bearer {OTHER_KEY}"})
    unknown, impossible = await client.delete("/v1/requests/r-2"), await client.delete("/v1/requests/a%20b")
    fetched = await client.get("/v1/requests/r-2")
    assert {each.status_code for each in (theirs, unknown, impossible)} == {404}
    messages = {each.json()["error"]["message"] for each in (theirs, unknown, impossible, fetched)}
    assert len(messages) == 1
    assert wired.registry.entries["r-1"].cancelled is None


async def test_cancel_without_redis(wired: Rig, client: httpx.AsyncClient) -> None:
    """503: whether it was cancelled is not known."""
    wired.registry.broken = True
    assert (await client.delete("/v1/requests/r-1")).status_code == 503

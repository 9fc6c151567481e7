"""`GET /v1/requests/{id}/events`: follow, come back, be sent elsewhere."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from ingest.follow.answer_cursor import StreamPosition
from ingest.native import requests as requests_route
from streams.events import Delta, Reply, ReplyAddress, Status, Timing
from streams.registry.entries import cancelled_error
from streams.topics import REPLIES
from tests.ingest.fakes import Entry, Rig, answered, failed
from tests.ingest.sse_reader import events

QUESTION = {"user_id": "ada", "query": "capital of France?"}


async def test_follow_a_finished_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """Its content as deltas, then the reply."""
    wired.registry.settle(answered("r-1"))
    read = events((await client.get("/v1/requests/r-1/events")).text)
    assert "".join(data["token"] for name, data in read if name == "delta") == "Paris is the capital."
    assert (read[-1][0], read[-1][1]["content"]) == ("done", "Paris is the capital.")


async def test_follow_a_failed_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """The error, then the reply that has it."""
    wired.registry.settle(failed("api_error", "internal_error"))
    read = events((await client.get("/v1/requests/r-1/events")).text)
    assert [name for name, _ in read] == ["error", "done"]
    assert read[0][1]["error"]["code"] == read[1][1]["error"]["code"] == "internal_error"


async def test_follow_a_running_request_from_its_start(wired: Rig, client: httpx.AsyncClient) -> None:
    """Who comes late gets the deltas that came before."""
    request_id = (await client.post("/v1/requests", json=QUESTION | {"stream": True})).json()["request_id"]
    sent, hub = wired.pipeline.sent[0], wired.services.hub
    hub.on_delta(Delta(request_id=request_id, attempt=1, seq=0, text="Paris"))
    following = asyncio.create_task(client.get(f"/v1/requests/{request_id}/events"))
    while not hub.in_flight:
        await asyncio.sleep(0)
    hub.on_delta(Delta(request_id=request_id, attempt=1, seq=1, text=" is"))
    hub.on_reply(answered(request_id), sent.correlation_id)
    read = events((await following).text)
    assert "".join(data["token"] for name, data in read if name == "delta") == "Paris is the capital."
    assert read[-1][0] == "done"
    assert hub.in_flight == 0


async def test_follow_a_request_of_another_replica(
    wired: Rig, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reply never passes here: the registry is asked."""
    monkeypatch.setattr(requests_route, "POLL_S", 0.0)
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    following = asyncio.create_task(client.get("/v1/requests/r-1/events"))
    while not wired.services.hub.in_flight:
        await asyncio.sleep(0)
    wired.registry.settle(answered("r-1"))
    assert events((await following).text)[-1][0] == "done"


async def test_following_a_cancelled_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """The error, then the reply."""
    wired.registry.settle(Reply(request_id="r-1", status=Status.CANCELLED, error=cancelled_error()))
    read = events((await client.get("/v1/requests/r-1/events")).text)
    assert [name for name, _ in read] == ["error", "done"]
    assert read[0][1]["error"]["code"] == "request_cancelled"


# ── coming back ───────────────────────────────────────────────────────────────────────────────────


async def test_every_event_with_text_has_an_id(wired: Rig, client: httpx.AsyncClient) -> None:
    """And the stream says first how soon to come back."""
    wired.registry.settle(answered("r-1"))
    body = (await client.get("/v1/requests/r-1/events")).text
    assert body.startswith("retry: 1000\n\n")
    deltas = [block for block in body.split("\n\n") if block.startswith("event: delta")]
    assert all("\nid: " in block for block in deltas)
    assert deltas[-1].endswith(f"\nid: {StreamPosition('Paris is the capital.').event_id}")


@pytest.mark.parametrize("as_parameter", [True, False])
async def test_come_back(wired: Rig, client: httpx.AsyncClient, as_parameter: bool) -> None:
    """The next character, then the end."""
    wired.registry.settle(answered("r-1"))
    had = StreamPosition("Paris is").event_id
    sent = {"params": {"last_event_id": had}} if as_parameter else {"headers": {"Last-Event-ID": had}}
    read = events((await client.get("/v1/requests/r-1/events", **sent)).text)  # type: ignore[arg-type]
    assert "".join(data["token"] for name, data in read if name == "delta") == " the capital."
    assert [name for name, _ in read if name != "delta"] == ["done"]


async def test_the_header_goes_before_the_parameter(wired: Rig, client: httpx.AsyncClient) -> None:
    """A browser that comes back by itself still has the parameter in its address."""
    wired.registry.settle(answered("r-1"))
    response = await client.get(
        "/v1/requests/r-1/events",
        params={"last_event_id": StreamPosition("Paris").event_id},
        headers={"Last-Event-ID": StreamPosition("Paris is the capital.").event_id},
    )
    assert [name for name, _ in events(response.text)] == ["done"]


async def test_come_back_with_another_text(wired: Rig, client: httpx.AsyncClient) -> None:
    """Its answer was replaced meanwhile: `reset`, and the whole answer."""
    wired.registry.settle(answered("r-1"))
    headers = {"Last-Event-ID": StreamPosition("London").event_id}
    read = events((await client.get("/v1/requests/r-1/events", headers=headers)).text)
    assert read[0] == ("reset", {})
    assert "".join(data["token"] for name, data in read if name == "delta") == "Paris is the capital."


@pytest.mark.parametrize("where", ["Last-Event-ID", "last_event_id"])
async def test_come_back_with_what_is_no_id(wired: Rig, client: httpx.AsyncClient, where: str) -> None:
    """400 that names where it was, and nobody waits."""
    wired.registry.settle(answered("r-1"))
    sent = {"headers": {where: "abc"}} if where == "Last-Event-ID" else {"params": {where: "abc"}}
    response = await client.get("/v1/requests/r-1/events", **sent)  # type: ignore[arg-type]
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_event_id", where)
    assert wired.services.hub.in_flight == 0


async def test_no_id_yet(wired: Rig, client: httpx.AsyncClient) -> None:
    """An empty one is none: some clients send it so when they come back before the first event."""
    wired.registry.settle(answered("r-1"))
    response = await client.get("/v1/requests/r-1/events", headers={"Last-Event-ID": ""})
    assert "reset" not in [name for name, _ in events(response.text)]


async def test_a_text_ahead_of_this_replica_is_waited_for(wired: Rig, client: httpx.AsyncClient) -> None:
    """The client has read on another replica what has not come by here yet."""
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running")
    headers = {"Last-Event-ID": StreamPosition("Paris is").event_id}
    following = asyncio.create_task(client.get("/v1/requests/r-1/events", headers=headers))
    hub = wired.services.hub
    while not hub.in_flight:
        await asyncio.sleep(0)
    for seq, text in enumerate(("Paris", " is", " the")):
        hub.on_delta(Delta(request_id="r-1", attempt=1, seq=seq, text=text))
        await asyncio.sleep(0)
    hub.on_reply(answered("r-1"), None)
    read = events((await following).text)
    assert "".join(data["token"] for name, data in read if name == "delta") == " the capital."
    assert "reset" not in [name for name, _ in read]


async def test_what_was_asked_here_was_heard_here(wired: Rig, client: httpx.AsyncClient) -> None:
    """So nothing need be read again; unlike for a request that only its registration is known of."""
    request_id = (await client.post("/v1/requests", json=QUESTION)).json()["request_id"]
    address = ReplyAddress(topic=REPLIES.name, partition=2)
    wired.registry.entries["r-1"] = Entry("acme", "", "", "running", reply_to=address)
    following = [
        asyncio.create_task(client.get(f"/v1/requests/{each}/events")) for each in (request_id, "r-1")
    ]
    while wired.history.open < 2:
        await asyncio.sleep(0)
    asked_at = wired.registry.entries[request_id].reply_to
    assert asked_at is not None
    assert sorted(wired.history.followed) == sorted(
        [(request_id, asked_at.partition, True), ("r-1", 2, False)]
    )
    for each in (request_id, "r-1"):
        wired.services.hub.on_reply(answered(each), None)
    await asyncio.gather(*following)
    assert wired.history.open == 0


async def test_an_answer_that_has_ended_is_not_read_again(wired: Rig, client: httpx.AsyncClient) -> None:
    """Its reply has all of it."""
    wired.registry.settle(answered("r-1"))
    wired.registry.entries["r-1"].reply_to = ReplyAddress(topic=REPLIES.name, partition=2)
    await client.get("/v1/requests/r-1/events")
    assert wired.history.followed == []


async def test_followers_are_sent_elsewhere_when_the_process_stops(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """Their streams end without `done`; who waits for its own answer still gets it."""
    asking = asyncio.create_task(client.post("/v1/chat", json=QUESTION))
    while not wired.pipeline.sent:
        await asyncio.sleep(0)
    request_id, hub = wired.pipeline.sent[0].key, wired.services.hub
    following = asyncio.create_task(client.get(f"/v1/requests/{request_id}/events"))
    while hub.in_flight < 2:
        await asyncio.sleep(0)
    hub.dismiss_followers()
    early, late = (await following).text, (await client.get(f"/v1/requests/{request_id}/events")).text
    assert early == late == "retry: 1000\n\n"
    hub.on_reply(answered(request_id), wired.pipeline.sent[0].correlation_id)
    assert (await asking).json()["response"] == "Paris is the capital."


async def test_the_stages_are_told_before_the_end(wired: Rig, client: httpx.AsyncClient) -> None:
    """What each took, as the reply has it."""
    timing = Timing(stage="llm", started_at=datetime.now(UTC), queue_us=5, work_us=7, outcome="answered")
    wired.registry.settle(answered("r-1", timings=(timing,)))
    read = events((await client.get("/v1/requests/r-1/events")).text)
    assert [name for name, _ in read][-2:] == ["stage", "done"]
    assert (read[-2][1]["stage"], read[-2][1]["work_us"]) == ("llm", 7)

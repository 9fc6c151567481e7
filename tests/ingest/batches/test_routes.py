"""`/v1/batches`: a file of requests in, a file of answers out."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from ingest.batches.batch import SUBMIT_TIMEOUT_S, line_request_id
from ingest.follow.reply_hub import ReplyHub
from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.events import Reply, Status
from tests.ingest.batches.test_lines import CHAT, jsonl, line
from tests.ingest.fakes import OTHER_KEY, Rig, Sent, answered, blocked, failed

ZETA = {"Authorization": f"Bearer {OTHER_KEY}"}
NIGHTLY = {"Idempotency-Key": "nightly"}


def file(count: int, url: str = CHAT) -> bytes:
    return jsonl(*(line(f"line-{number}", url) for number in range(count)))


async def send(client: httpx.AsyncClient, data: bytes, **headers: str) -> httpx.Response:
    return await client.post(
        "/v1/batches", content=data, headers={"Content-Type": "application/jsonl"} | headers
    )


def settle_all(wired: Rig, *replies: Reply) -> None:
    """End the lines in order, with these replies or, where there are fewer, with answers."""
    (batch,) = wired.batches.records.values()
    for index, name in enumerate(batch.names):
        given = replies[index] if index < len(replies) else answered(content=f"answer {index}")
        wired.registry.settle(msgspec.structs.replace(given, request_id=line_request_id(batch, name)))


async def test_every_line_becomes_a_request(wired: Rig, client: httpx.AsyncClient) -> None:
    """202 and OpenAI's batch object; nobody waits, and nothing is kept in memory for each line."""
    response = await send(client, file(40))
    body = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == body["url"] == f"/v1/batches/{body['id']}"
    assert (body["object"], body["endpoint"], body["status"]) == ("batch", CHAT, "in_progress")
    assert body["request_counts"] == {"total": 40, "completed": 0, "failed": 0}
    assert body["requests_in_progress"] == 40
    assert body["expires_at"] - body["created_at"] == wired.services.settings.registry_ttl_s
    assert len({sent.key for sent in wired.pipeline.sent}) == 40
    assert {sent.request.tenant for sent in wired.pipeline.sent} == {"acme"}
    assert {sent.request.deadline_ms for sent in wired.pipeline.sent} == {3_600_000}
    assert not any(wired.services.hub.expects(sent.key, None) for sent in wired.pipeline.sent)
    assert (await client.get(body["url"])).json() == body


async def test_a_wrong_line_and_nothing_is_accepted(wired: Rig, client: httpx.AsyncClient) -> None:
    """400 that names the line and the field."""
    response = await send(client, jsonl(line("a"), line("b", CHAT, model="nope")), **NIGHTLY)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "line 2.body.model")
    assert (wired.pipeline.sent, wired.registry.entries, wired.batches.records) == ([], {}, {})
    assert (await send(client, file(2), **NIGHTLY)).status_code == 202


async def test_the_same_batch_again_costs_nothing(wired: Rig, client: httpx.AsyncClient) -> None:
    """The same key gives the same batch, which says so, and no line is published twice."""
    first = await send(client, file(3), **NIGHTLY)
    second = await send(client, file(3), **NIGHTLY)
    assert (second.status_code, second.json()) == (202, first.json())
    assert ["idempotent-replayed" in each.headers for each in (first, second)] == [False, True]
    assert len(wired.pipeline.sent) == 3


async def test_lines_that_failed_at_no_cost_run_anew_with_their_batch(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """Under ids of their own; the answers, and what was paid for, stay. Twice at once is one new run."""
    batch = (await send(client, file(4), **NIGHTLY)).json()
    degraded = failed("api_error", "all_models_failed", status=Status.DEGRADED)
    paid = failed("api_error", "internal_error", cost_usd=Decimal("0.5"))
    settle_all(wired, degraded, answered(), paid, failed("timeout_error", "deadline_exceeded"))
    before = (await client.get(batch["url"])).json()
    assert (before["status"], before["request_counts"]["failed"]) == ("completed", 3)
    again = await asyncio.gather(*(send(client, file(4), **NIGHTLY) for _ in range(2)))
    assert {each.json()["requests_in_progress"] for each in again} == {2}
    anew = {sent.key for sent in wired.pipeline.sent[4:]}
    assert len(anew) == 2
    for key in anew:
        wired.registry.settle(answered(key))
    after = (await client.get(batch["url"])).json()
    assert (after["status"], after["request_counts"]["failed"]) == ("completed", 1)
    assert "idempotent-replayed" in (await send(client, file(4), **NIGHTLY)).headers


async def test_the_same_key_for_another_batch(wired: Rig, client: httpx.AsyncClient) -> None:
    """409, before any of its lines is accepted; another tenant's key is another key."""
    await send(client, file(2), **NIGHTLY)
    refused = await send(client, file(3), **NIGHTLY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert len(wired.pipeline.sent) == 2
    assert (await send(client, file(3), **NIGHTLY, **ZETA)).status_code == 202


async def test_without_a_key_each_batch_is_new(wired: Rig, client: httpx.AsyncClient) -> None:
    """The same file sent twice is asked twice."""
    ids = {(await send(client, file(2))).json()["id"] for _ in range(2)}
    assert (len(ids), len({sent.key for sent in wired.pipeline.sent})) == (2, 4)


@pytest.mark.parametrize("fault", [KafkaUnavailable("gone"), StoreUnavailable("gone")])
async def test_an_outage_midway_and_the_batch_again(
    wired: Rig, client: httpx.AsyncClient, fault: Exception
) -> None:
    """503 that says what to do; then only what is missing is accepted, under the same ids."""
    count = 0

    def script(sent: Sent, hub: ReplyHub) -> None:
        nonlocal count
        count += 1
        if count > 50:
            wired.registry.broken = isinstance(fault, StoreUnavailable)
            wired.pipeline.broken = isinstance(fault, KafkaUnavailable)

    wired.pipeline.script = script
    refused = await send(client, file(90), **NIGHTLY)
    error = refused.json()["error"]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "Send the same batch again with the same Idempotency-Key" in error["message"]
    assert 50 < len(wired.pipeline.sent) < 90

    wired.registry.broken = wired.pipeline.broken = False
    wired.pipeline.script = None
    for sent in wired.pipeline.sent:
        wired.registry.settle(answered(sent.key))
    (batch_id,) = wired.batches.records
    before = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (before["status"], before["request_counts"]["completed"]) == (
        "validating",
        len(wired.pipeline.sent),
    )
    again = await send(client, file(90), **NIGHTLY)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, batch_id, "in_progress")
    assert len(wired.pipeline.sent) == 90
    assert len({sent.key for sent in wired.pipeline.sent}) == 90


async def test_a_submission_that_never_came_to_its_end(wired: Rig, client: httpx.AsyncClient) -> None:
    """The batch has failed, and says how to go on; sent again, it goes on."""
    wired.pipeline.broken = True
    await send(client, file(2), **NIGHTLY)
    ((batch_id, batch),) = wired.batches.records.items()
    past = batch.submitted_at - timedelta(seconds=SUBMIT_TIMEOUT_S)
    wired.batches.records[batch_id] = msgspec.structs.replace(batch, submitted_at=past)
    body = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (body["status"], body["errors"]["data"][0]["code"]) == ("failed", "submission_interrupted")
    wired.pipeline.broken = False
    again = (await send(client, file(2), **NIGHTLY)).json()
    assert (again["status"], again["errors"]) == ("in_progress", None)


async def test_progress_counts_what_has_ended(wired: Rig, client: httpx.AsyncClient) -> None:
    """Answers, also those that a check replaced, are completed; what no model has answered has failed."""
    url = (await send(client, file(7))).json()["url"]
    replaced = answered(status=Status.BLOCKED, finish_reason="content_filter")
    cancelled = Reply(request_id="r", status=Status.CANCELLED)
    late = failed("timeout_error", "deadline_exceeded")
    degraded = answered(status=Status.DEGRADED)
    settle_all(wired, answered(), replaced, blocked(), late, cancelled, degraded)
    wired.registry.entries[wired.pipeline.sent[-1].key].reply = None
    body = (await client.get(url)).json()
    assert body["request_counts"] == {"total": 7, "completed": 2, "failed": 4}
    assert body["requests_in_progress"] == 1
    assert body["status"] == "in_progress"


async def test_cancel_a_batch(wired: Rig, client: httpx.AsyncClient) -> None:
    """What has not ended is cancelled, the rest stays; in the end all results can be had."""
    batch = (await send(client, file(4))).json()
    wired.registry.settle(answered(wired.pipeline.sent[0].key))
    body = (await client.post(f"{batch['url']}/cancel")).json()
    assert (body["status"], body["cancelling_at"] is None) == ("cancelling", False)
    reasons = [wired.registry.entries[sent.key].cancelled for sent in wired.pipeline.sent]
    assert reasons == [None, "cancelled_by_sender", "cancelled_by_sender", "cancelled_by_sender"]
    for sent in wired.pipeline.sent[1:]:
        wired.registry.settle(Reply(request_id=sent.key, status=Status.CANCELLED))
    body = (await client.get(batch["url"])).json()
    assert (body["status"], body["request_counts"]["failed"]) == ("cancelled", 3)
    read = (await client.get(batch["results_url"])).text
    assert read.count("request_cancelled") == 2 * 3
    assert len(read.splitlines()) == 4


async def test_a_batch_cancelled_while_it_is_submitted(wired: Rig, client: httpx.AsyncClient) -> None:
    """Lines that came after are cancelled too; sent again, it stays cancelled."""

    async def cancelled_meanwhile(batch_id: str) -> Any:
        await wired.batches.cancel(batch_id)
        return await type(wired.batches).accept(wired.batches, batch_id)

    wired.batches.accept = cancelled_meanwhile  # type: ignore[method-assign]  # somebody else cancels just then
    body = (await send(client, file(40), **NIGHTLY)).json()
    assert body["status"] == "cancelling"
    assert {entry.cancelled for entry in wired.registry.entries.values()} == {"cancelled_by_sender"}
    again = await send(client, file(40), **NIGHTLY)
    assert (again.json()["id"], len(wired.pipeline.sent)) == (body["id"], 40)


async def test_cancel_what_has_ended(wired: Rig, client: httpx.AsyncClient) -> None:
    """409, and nothing changes."""
    batch = (await send(client, file(2))).json()
    settle_all(wired)
    refused = await client.post(f"{batch['url']}/cancel")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "batch_finished")
    assert (await client.get(batch["url"])).json()["status"] == "completed"


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/results"), ("POST", "/cancel")])
async def test_only_its_tenant_may_see_it(
    wired: Rig, client: httpx.AsyncClient, method: str, path: str
) -> None:
    """Another tenant gets the very answer that it would get for a batch that never was."""
    url = (await send(client, file(2))).json()["url"]
    theirs = await client.request(method, url + path, headers=ZETA)
    unknown = await client.request(method, f"/v1/batches/batch_{'0' * 32}{path}")
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.json()["error"]["message"] == unknown.json()["error"]["message"]
    assert {entry.cancelled for entry in wired.registry.entries.values()} == {None}


async def test_a_request_of_another_tenant_under_a_lines_id(wired: Rig, client: httpx.AsyncClient) -> None:
    """Kafka's producers choose their ids: what is another tenant's is never shown."""
    batch = (await send(client, file(1))).json()
    wired.registry.settle(answered(wired.pipeline.sent[0].key))
    wired.registry.entries[wired.pipeline.sent[0].key].tenant = "zeta"
    assert (await client.get(batch["url"])).json()["request_counts"]["completed"] == 0
    assert (await client.get(batch["results_url"] + "?partial=true")).text == ""


@pytest.mark.parametrize("path", ["", "/results"])
async def test_without_redis(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """503."""
    url = (await send(client, file(2))).json()["url"]
    wired.registry.broken = True
    assert (await client.get(url + path)).status_code == 503


async def test_only_so_many_files_are_received_at_once(wired: Rig, client: httpx.AsyncClient) -> None:
    """The next one is told to come again, before its body is read; then there is room again."""
    with wired.services.batches.receiving(), wired.services.batches.receiving():
        refused = await send(client, b"not even looked at")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert (await send(client, file(1))).status_code == 202


async def test_headers_that_concern_every_line(wired: Rig, client: httpx.AsyncClient) -> None:
    """Deadline, user and trace."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"X-Headrace-Deadline-Ms": "7000", "X-Headrace-User": "eve", "traceparent": trace}
    await send(client, file(2), **headers)
    for sent in wired.pipeline.sent:
        assert (sent.request.deadline_ms, sent.request.user_id) == (7000, "eve")
        assert dict(sent.headers)["traceparent"] == trace.encode()


async def test_it_takes_a_key(client: httpx.AsyncClient) -> None:
    """401 without, before anything is read."""
    assert (await send(client, b"", Authorization="Bearer nobody")).status_code == 401

"""`POST /v1/chat`."""

import asyncio
import re
from decimal import Decimal

import httpx
import msgspec
import pytest

from ingest.submit import request_reply
from streams.events import Delta, ErrorInfo, ReplyAddress, Status
from streams.registry.registry import SubmissionState
from tests.ingest.fakes import Rig, Sent, answered, blocked, failed
from tests.ingest.sse_reader import events

QUESTION = {"query": "capital of France?", "user_id": "ada"}


async def test_an_answer_has_the_lessons_fields(wired: Rig, client: httpx.AsyncClient) -> None:
    """And the request id is the same in body, header and record."""
    wired.pipeline.replies_with(answered())
    response = await client.post("/v1/chat", json=QUESTION)
    body = response.json()
    assert response.status_code == 200
    assert body["response"] == "Paris is the capital."
    assert (body["model"], body["cache_hit"], body["input_tokens"], body["output_tokens"]) == (
        "gpt-4o-mini",
        False,
        12,
        5,
    )
    assert body["guardrail_output_pass"] is True
    assert body["latency_ms"] > 0
    assert '"cost_usd":0.0000048' in response.text
    assert body["request_id"] == response.headers["X-Request-ID"] == wired.pipeline.sent[0].key


async def test_the_record_says_whose_it_is_and_where_the_reply_goes(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """Tenant and tier come from the key; the headers are those of Spring's ReplyingKafkaTemplate."""
    wired.pipeline.replies_with(answered())
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await client.post("/v1/chat", json=QUESTION, headers={"traceparent": parent})
    sent = wired.pipeline.sent[0]
    headers = dict(sent.headers)
    assert (sent.request.tenant, sent.request.tier, sent.request.user_id) == ("acme", "enterprise", "ada")
    assert sent.request.request_id == sent.key == headers["ce_id"].decode()
    assert sent.request.accepted_at is not None
    assert sent.request.deadline_ms == 60_000
    assert len(headers["kafka_correlationId"]) == 16
    assert headers["kafka_replyTopic"] == b"llm.replies.v1"
    assert int.from_bytes(headers["kafka_replyPartition"], "big") in (1, 3)
    assert len(headers["kafka_replyPartition"]) == 4
    assert headers["traceparent"].decode() == parent
    assert headers["ce_type"] == b"headrace.ChatRequested"


async def test_a_wrong_traceparent_is_replaced(wired: Rig, client: httpx.AsyncClient) -> None:
    """A trace begins here where the client's context is no context."""
    wired.pipeline.replies_with(answered())
    await client.post("/v1/chat", json=QUESTION, headers={"traceparent": "00-zz-11-01"})
    minted = dict(wired.pipeline.sent[0].headers)["traceparent"].decode()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", minted)


async def test_a_blocked_query_says_why(wired: Rig, client: httpx.AsyncClient) -> None:
    """As the lesson has it: 200, and a body that says blocked."""
    wired.pipeline.replies_with(blocked())
    response = await client.post("/v1/chat", json=QUESTION)
    body = response.json()
    assert response.status_code == 200
    assert (body["blocked"], body["reason"]) == (True, "Potential prompt injection detected")
    assert (body["cost_usd"], body["status"], body["code"]) == (0, "blocked", "ignore_instructions")


async def test_an_answer_that_the_output_check_replaced(wired: Rig, client: httpx.AsyncClient) -> None:
    """It is an answer with the replacement, and says that the check did not pass."""
    wired.pipeline.replies_with(
        answered(content="I cannot say that.", status=Status.BLOCKED, finish_reason="content_filter")
    )
    body = (await client.post("/v1/chat", json=QUESTION)).json()
    assert (body["response"], body["guardrail_output_pass"]) == ("I cannot say that.", False)


async def test_a_degraded_answer_says_so(wired: Rig, client: httpx.AsyncClient) -> None:
    """200 with the apology, its status and the reason."""
    error = ErrorInfo(type="api_error", code="all_models_failed", message="none answered")
    wired.pipeline.replies_with(answered(status=Status.DEGRADED, error=error))
    response = await client.post("/v1/chat", json=QUESTION)
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["error"]["code"]) == ("degraded", "all_models_failed")


async def test_a_failed_request_has_the_errors_status(wired: Rig, client: httpx.AsyncClient) -> None:
    """And OpenAI's error object with the request id."""
    wired.pipeline.replies_with(failed("invalid_request_error", "context_length_exceeded", param="query"))
    response = await client.post("/v1/chat", json=QUESTION)
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "message": "because of context_length_exceeded",
            "type": "invalid_request_error",
            "code": "context_length_exceeded",
            "param": "query",
            "request_id": wired.pipeline.sent[0].key,
        }
    }


async def test_a_stream_is_tokens_and_the_end_mark(wired: Rig, client: httpx.AsyncClient) -> None:
    """Exactly the lesson's shape, with the headers that keep proxies from collecting it."""
    wired.pipeline.replies_with(
        answered(), (1, 0, "Paris"), (1, 1, " is"), (1, 1, " is"), (0, 9, "stale"), (1, 2, " the")
    )
    response = await client.post("/v1/chat", json=QUESTION | {"stream": True})
    read = events(response.text)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert read[-1] == ("message", "[DONE]")
    assert "".join(data["token"] for _, data in read[:-1]) == "Paris is the capital."
    assert wired.pipeline.sent[0].request.stream is True


async def test_a_cached_answer_streams_in_pieces(wired: Rig, client: httpx.AsyncClient) -> None:
    """Though it was there at once."""
    content = "word " * 40
    wired.pipeline.replies_with(answered(content=content, status=Status.CACHED, cache_hit=True))
    read = events((await client.post("/v1/chat", json=QUESTION | {"stream": True})).text)
    assert len(read) > 4
    assert "".join(data["token"] for _, data in read[:-1]) == content


async def test_a_replaced_answer_resets_the_stream(wired: Rig, client: httpx.AsyncClient) -> None:
    """The client is told to drop what it has before the other answer begins."""
    task = asyncio.create_task(client.post("/v1/chat", json=QUESTION | {"stream": True}))
    sent = await _submitted(wired)
    wired.services.hub.on_delta(Delta(request_id=sent.key, attempt=1, seq=0, text="Lyon is"))
    await _turns()
    wired.services.hub.on_delta(Delta(request_id=sent.key, attempt=2, seq=0, text="Paris"))
    await _turns()
    wired.services.hub.on_reply(answered(sent.key, "Paris."), sent.correlation_id)
    assert events((await task).text) == [
        ("message", {"token": "Lyon is"}),
        ("reset", {}),
        ("message", {"token": "Paris"}),
        ("message", {"token": "."}),
        ("message", "[DONE]"),
    ]


async def test_a_stream_that_is_blocked_first_is_json(wired: Rig, client: httpx.AsyncClient) -> None:
    """No stream begins that has nothing to stream."""
    wired.pipeline.replies_with(blocked())
    response = await client.post("/v1/chat", json=QUESTION | {"stream": True})
    assert response.headers["content-type"] == "application/json"
    assert response.json()["blocked"] is True


async def test_a_stream_that_fails_first_has_the_real_status(wired: Rig, client: httpx.AsyncClient) -> None:
    """A 4xx, not a 200 with an error in it."""
    wired.pipeline.replies_with(failed("invalid_request_error", "context_length_exceeded"))
    response = await client.post("/v1/chat", json=QUESTION | {"stream": True})
    assert response.status_code == 400


async def test_a_stream_that_fails_midway_ends_with_the_error(wired: Rig, client: httpx.AsyncClient) -> None:
    """And without the end mark, which would say that the answer is complete."""
    wired.pipeline.replies_with(failed("api_error", "internal_error"), (1, 0, "Par"))
    task = asyncio.create_task(client.post("/v1/chat", json=QUESTION | {"stream": True}))
    wired.pipeline.script = None
    sent = await _submitted(wired)
    wired.services.hub.on_delta(Delta(request_id=sent.key, attempt=1, seq=0, text="Par"))
    await _turns()
    failure = msgspec.structs.replace(failed("api_error", "internal_error"), request_id=sent.key)
    wired.services.hub.on_reply(failure, sent.correlation_id)
    read = events((await task).text)
    assert read[0] == ("message", {"token": "Par"})
    assert read[1][1]["error"]["code"] == "internal_error"
    assert len(read) == 2


async def test_no_reply_in_time(
    wired: Rig, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """504, which says where the reply will be, and tells SDKs not to ask twice."""
    monkeypatch.setattr(request_reply, "GRACE_S", 0.0)
    response = await client.post("/v1/chat", json=QUESTION | {"deadline_ms": 1})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (504, "timeout_error")
    assert f"GET /v1/requests/{wired.pipeline.sent[0].key}" in error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert wired.services.hub.in_flight == 0


async def test_a_reply_that_passed_this_replica_by(
    wired: Rig, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before giving up, the registry is asked."""
    monkeypatch.setattr(request_reply, "GRACE_S", 0.0)
    wired.pipeline.script = lambda sent, _hub: wired.registry.settle(answered(sent.key))
    response = await client.post("/v1/chat", json=QUESTION | {"deadline_ms": 1})
    assert (response.status_code, response.json()["response"]) == (200, "Paris is the capital.")


async def test_the_same_key_gives_the_stored_reply(wired: Rig, client: httpx.AsyncClient) -> None:
    """Marked as a repeat, with the same id, and nothing is published again."""
    wired.pipeline.replies_with(answered())
    headers = {"Idempotency-Key": "order-7"}
    first = await client.post("/v1/chat", json=QUESTION, headers=headers)
    wired.registry.settle(answered(first.json()["request_id"]))
    second = await client.post("/v1/chat", json=QUESTION, headers=headers)
    assert (first.json()["repeat"], second.json()["repeat"]) == (False, True)
    assert first.json()["request_id"] == second.json()["request_id"]
    assert len(wired.pipeline.sent) == 1


async def test_the_same_key_with_another_body_is_refused(wired: Rig, client: httpx.AsyncClient) -> None:
    """409, and SDKs are told not to try again."""
    wired.pipeline.replies_with(answered())
    headers = {"Idempotency-Key": "order-7"}
    await client.post("/v1/chat", json=QUESTION, headers=headers)
    response = await client.post("/v1/chat", json={"user_id": "ada", "query": "of Spain?"}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert response.headers["x-should-retry"] == "false"


async def test_a_running_request_is_joined(wired: Rig, client: httpx.AsyncClient) -> None:
    """The second one waits for the reply of the first, and publishes nothing."""
    headers = {"Idempotency-Key": "order-7"}
    first = asyncio.create_task(client.post("/v1/chat", json=QUESTION, headers=headers))
    sent = await _submitted(wired)
    wired.registry.entries[sent.key].state = "running"
    second = asyncio.create_task(client.post("/v1/chat", json=QUESTION, headers=headers))
    while not wired.registry.waiters:
        await asyncio.sleep(0)
    joined = wired.registry.waiters[0].correlation_id
    wired.services.hub.on_reply(answered(sent.key), sent.correlation_id)
    wired.services.hub.on_reply(answered(sent.key, repeat=True), joined)
    assert (await first).json()["repeat"] is False
    assert (await second).json()["repeat"] is True
    assert len(wired.pipeline.sent) == 1


async def test_a_request_whose_record_was_never_read_is_published_again(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """Whoever registered it may have died before publishing it."""
    wired.pipeline.replies_with(answered())
    headers = {"Idempotency-Key": "order-7"}
    await client.post("/v1/chat", json=QUESTION, headers=headers)
    assert wired.registry.entries[wired.pipeline.sent[0].key].state == SubmissionState.PENDING
    await client.post("/v1/chat", json=QUESTION, headers=headers)
    assert len(wired.pipeline.sent) == 2


async def test_kafka_down(wired: Rig, client: httpx.AsyncClient) -> None:
    """503 with Retry-After; nothing is left registered, so the same key works again later."""
    wired.pipeline.broken = True
    response = await client.post("/v1/chat", json=QUESTION, headers={"Idempotency-Key": "order-7"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert wired.registry.entries == {}
    assert wired.services.hub.in_flight == 0
    wired.pipeline.broken = False
    wired.pipeline.replies_with(answered())
    again = await client.post("/v1/chat", json=QUESTION, headers={"Idempotency-Key": "order-7"})
    assert (again.status_code, again.json()["repeat"]) == (200, False)


async def test_redis_down(wired: Rig, client: httpx.AsyncClient) -> None:
    """503 with Retry-After, nothing is published, and the client reads no addresses."""
    wired.registry.broken = True
    response = await client.post("/v1/chat", json=QUESTION)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert wired.pipeline.sent == []
    assert "10.0.0.1" not in response.text


async def test_too_many_wait(wired: Rig, client: httpx.AsyncClient) -> None:
    """Beyond the limit: 503 with Retry-After, before anything is registered."""
    waiting_ones = [asyncio.create_task(client.post("/v1/chat", json=QUESTION)) for _ in range(8)]
    await _submitted(wired, 8)
    response = await client.post("/v1/chat", json=QUESTION)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
    assert "retry-after" in response.headers
    assert len(wired.registry.entries) == 8
    for sent in wired.pipeline.sent:
        wired.services.hub.on_reply(answered(sent.key), sent.correlation_id)
    assert {(await each).status_code for each in waiting_ones} == {200}
    assert wired.services.hub.in_flight == 0


async def test_a_client_that_leaves_loses_nothing(wired: Rig) -> None:
    """Its ear is dropped at once, the request stays registered and published."""
    from ingest.main import create_app
    from tests.ingest.fakes import KEY

    body = b'{"user_id": "ada", "query": "capital of France?"}'
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    leave = asyncio.Event()
    answers: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    headers = [(b"x-api-key", KEY.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat", "headers": headers, "query_string": b""}
    task = asyncio.create_task(create_app(wired.services)(scope, receive, send))  # type: ignore[arg-type]
    await _submitted(wired)
    leave.set()
    await task
    assert wired.services.hub.in_flight == 0
    assert len(wired.registry.entries) == 1
    assert answers[0]["status"] == 499


async def test_amounts_are_exact(wired: Rig, client: httpx.AsyncClient) -> None:
    """A number in JSON, with the digits that were booked."""
    wired.pipeline.replies_with(answered(cost_usd=Decimal("0.100000001")))
    assert '"cost_usd":0.100000001,' in (await client.post("/v1/chat", json=QUESTION)).text


async def _turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _submitted(wired: Rig, count: int = 1) -> Sent:
    while len(wired.pipeline.sent) < count:
        await asyncio.sleep(0)
    await _turns()
    return wired.pipeline.sent[-1]


async def test_who_joins_a_stream_gets_its_text_from_the_start(wired: Rig, client: httpx.AsyncClient) -> None:
    """The same key again while it runs: what was written before is read again, for as long as it waits."""
    headers = {"Idempotency-Key": "order-7"}
    stream = QUESTION | {"stream": True}
    first = (await client.post("/v1/requests", json=stream, headers=headers)).json()["request_id"]
    entry = wired.registry.entries[first]
    entry.state, entry.reply_to = "running", ReplyAddress(topic="llm.replies.v1", partition=2)
    joining = asyncio.create_task(client.post("/v1/chat", json=stream, headers=headers))
    while not wired.history.open:
        await asyncio.sleep(0)
    assert wired.history.followed == [(first, 2, True)]
    wired.services.hub.on_reply(answered(first), wired.registry.waiters[0].correlation_id)
    assert events((await joining).text)[-1] == ("message", "[DONE]")
    assert wired.history.open == 0

"""The door says the same for every way in, and keeps HTTP's manners."""

import gzip
import json
import uuid
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.acceptance.conftest import System, unique, wait_for

pytestmark = pytest.mark.acceptance

GPT, CLAUDE = "gpt-4o", "claude-sonnet-4-20250514"
HELLO = [{"role": "user", "content": "Hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "weather"}}


class Case(NamedTuple):
    """A mistake in OpenAI's words, where it is, and what its sender reads."""

    fields: dict[str, Any]
    param: str
    message: str


CASES = (
    Case({"messages": HELLO * 101}, "messages", "messages: at most 100 are allowed, got 101"),
    Case({"messages": []}, "messages", "messages: at least 1 are required, got 0"),
    Case(
        {"messages": [{"role": "user", "content": "x" * 32_001}]},
        "messages[0].content",
        "messages[0].content: at most 32000 characters are allowed, got 32001",
    ),
    Case({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "must be text or a list"),
    Case({"messages": [{"content": "Hi"}]}, "messages[0].role", "messages[0].role is required"),
    Case({"top_p": 2}, "top_p", "top_p: must be at most 1, got 2"),
    Case({"top_p": "high"}, "top_p", "top_p: must be a number, not text"),
    Case({"max_tokens": 0}, "max_tokens", "max_tokens: must be at least 1, got 0"),
    Case({"max_tokens": 1_000_000}, "max_tokens", "max_tokens: must be at most 4096, got 1000000"),
    Case({"audio": {}}, "audio", "audio is not supported: answers are text"),
    Case({"shiny": 1}, "shiny", "unknown field 'shiny': it is not known here"),
    Case({"model": "gpt-99"}, "model", "the model 'gpt-99' does not exist"),
)


def told(response: httpx.Response) -> tuple[str, str]:
    error = response.json()["error"]
    return error["param"], error["message"]


def _posted(system: System, path: str, more: dict[str, Any]) -> Callable[[Case], tuple[str, str]]:
    def post(case: Case) -> tuple[str, str]:
        response = system.http.post(path, json={"model": CLAUDE, "messages": HELLO, **more, **case.fields})
        assert response.status_code in (400, 404), response.text
        return told(response)

    return post


def _in_a_batch(system: System, case: Case) -> tuple[str, str]:
    body = {"model": CLAUDE, "messages": HELLO, **case.fields}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    param, message = told(system.http.post("/v1/batches", content=json.dumps(line)))
    return param.removeprefix("line 1.body."), message.partition("line 1: ")[2]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {}),
        ("/api/v1/chat/completions", {}),
        ("/api/v1/chat/completions/stream", {}),
        ("/v1/messages", {"max_tokens": 50}),
        ("/v1/chat", {"user_id": "u"}),
        ("/v1/requests", {"user_id": "u"}),
        ("/v1/batches", {}),
    ],
)
def test_a_mistake_is_told_in_the_same_words(system: System, path: str, more: dict[str, Any]) -> None:
    """Whichever route it comes by: the field as the caller spells it, what is allowed, and what came."""
    ask = _posted(system, path, more) if path != "/v1/batches" else lambda case: _in_a_batch(system, case)
    for case in CASES:
        param, message = ask(case)
        assert param == case.param
        assert case.message in message


@asynccontextmanager
async def kafka(system: System) -> AsyncIterator[Callable[[list[dict[str, Any]]], Any]]:
    """Requests by Kafka, and their replies in the same order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=system.endpoints.kafka, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=system.endpoints.kafka)
    await consumer.start()
    await producer.start()

    async def ask(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        consumer.assign([TopicPartition("llm.replies.v1", number) for number in range(4)])
        await consumer.seek_to_end()
        marker = uuid.uuid4().hex
        ids = [f"{marker}-{number}" for number in range(len(requests))]
        for request_id, request in zip(ids, requests, strict=True):
            value = json.dumps({"request_id": request_id, **request}).encode()
            await producer.send_and_wait("llm.requests.v1", value=value)
        found: dict[str, dict[str, Any]] = {}
        while len(found) < len(ids):
            record = await consumer.getone()
            if (record.key or b"").decode().startswith(marker):
                found[record.key.decode()] = json.loads(record.value)
        return [found[request_id] for request_id in ids]

    try:
        yield ask
    finally:
        await producer.stop()
        await consumer.stop()


async def test_kafka_senders_read_the_same_words(system: System) -> None:
    """The reply has the error."""
    async with kafka(system) as ask:
        replies = await ask([{"user_id": "u", "messages": HELLO, **case.fields} for case in CASES])
    for case, reply in zip(CASES, replies, strict=True):
        assert reply["status"] == "failed"
        assert reply["error"]["param"] == case.param
        assert case.message in reply["error"]["message"]


async def test_times_and_ids_that_cannot_be_meant_are_refused(system: System) -> None:
    """At the entrance, and the row of the refusal is written."""
    asked = {"user_id": "u", "query": "Hi"}
    wrong = {
        "accepted_at": {"accepted_at": "0001-01-01T00:00:00Z"},
        "user_id": {"user_id": "a\nb"},
        "session_id": {"session_id": "a\x00b"},
        "params.temperature": {"params": {"presence_penalty": 3}},
    }
    async with kafka(system) as ask:
        replies = await ask(
            [asked | fields for fields in [*wrong.values(), {"accepted_at": "9999-12-31T00:00:00Z"}]]
        )
    params = [reply["error"]["param"] for reply in replies]
    assert params == ["accepted_at", "user_id", "session_id", "presence_penalty", "accepted_at"]
    assert system.row(replies[0]["request_id"])["status"] == "failed"
    response = system.http.post("/v1/chat", json=asked | {"session_id": "a\rb"})
    assert (response.status_code, told(response)[0]) == (400, "session_id")


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_an_empty_result_of_a_tool_is_legal(healthy: System, model: str) -> None:
    """On every route; and a conversation may begin as it likes on OpenAI's own."""
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    ]
    for path, more in (
        ("/v1/chat/completions", {}),
        ("/v1/chat", {"user_id": "u"}),
        ("/api/v1/chat/completions", {}),
    ):
        response = healthy.http.post(path, json={"model": model, "messages": turns, "tools": [TOOL], **more})
        assert response.status_code == 200, response.text
    begun = {"model": GPT, "messages": [{"role": "assistant", "content": "Well?"}, *HELLO]}
    assert healthy.http.post("/v1/chat/completions", json=begun).status_code == 200
    refused = healthy.http.post("/api/v1/chat/completions", json=begun)
    assert (refused.status_code, told(refused)[0]) == (400, "messages[0].role")


def test_compressed_bodies(healthy: System) -> None:
    """Gzip and deflate are taken within the same bound; what is not taken is refused in words."""
    body = json.dumps({"user_id": "u", "query": unique("Is it zipped?")}).encode()
    codings = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    for coding, data in codings.items():
        response = healthy.http.post("/v1/chat", content=data, headers={"Content-Encoding": coding})
        assert response.status_code == 200, response.text
    bomb = gzip.compress(b" " * 50_000_000)
    for coding, data, status in (
        ("gzip", bomb, 413),
        ("gzip", body, 400),
        ("br", body, 415),
        ("gzip, gzip", body, 415),
    ):
        response = healthy.http.post("/v1/chat", content=data, headers={"Content-Encoding": coding})
        assert response.status_code == status
    assert "gzip" in response.json()["error"]["message"]
    assert response.headers["accept-encoding"] == "gzip, deflate"


def test_header_text_is_utf_8(healthy: System) -> None:
    """A name that is sent as UTF-8 is stored as it was meant; other bytes are refused."""
    ask = {"model": GPT, "messages": [{"role": "user", "content": unique("Who am I?")}]}
    response = healthy.http.post(
        "/v1/chat/completions", json=ask, headers={"X-Headrace-User": "Zoë 名".encode()}
    )
    assert response.status_code == 200
    assert healthy.row(response.json()["headrace"]["request_id"])["user_id"] == "Zoë 名"
    refused = healthy.http.post("/v1/chat/completions", json=ask, headers={"X-Headrace-User": b"Zo\xeb"})
    assert (refused.status_code, told(refused)[0]) == (400, "X-Headrace-User")
    assert (
        healthy.http.get("/v1/models", headers={"Authorization": "Bearer schlüssel".encode()}).status_code
        == 401
    )


def test_head_options_and_other_methods(system: System) -> None:
    """`HEAD` wherever there is a `GET`, without a body; `OPTIONS` everywhere; `Allow` names all methods."""
    admin = {"Authorization": f"Bearer {system.endpoints.admin_key}"}
    for address, paths, headers in (
        (
            system.endpoints.ingest,
            ["/health", "/live", "/v1/models", "/openapi.json", "/"],
            dict(system.http.headers),
        ),
        (
            system.endpoints.analytics,
            ["/health", "/metrics", "/openapi.json", "/v1/analytics/queries"],
            admin,
        ),
    ):
        for path in paths:
            head, got = (
                httpx.request(method, f"{address}{path}", headers=headers) for method in ("HEAD", "GET")
            )
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-type"] == got.headers["content-type"]
    assert system.http.head("/v1/requests/nope").status_code == 404
    refused = system.http.put("/v1/requests/nope")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS")
    options = system.http.options("/v1/chat")
    assert (options.status_code, options.headers["allow"]) == (204, "OPTIONS, POST")
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight = system.http.options("/v1/chat", headers=asked)
    assert (preflight.status_code, preflight.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in preflight.headers


def test_a_stream_is_not_sent_to_who_asks_for_its_head(healthy: System) -> None:
    """The connection is free at once, and the request goes on."""
    accepted = healthy.http.post("/v1/requests", json={"user_id": "u", "query": unique("Go on?")}).json()
    head = healthy.http.head(f"/v1/requests/{accepted['request_id']}/events")
    assert head.headers["content-type"].startswith("text/event-stream")
    url = f"/v1/requests/{accepted['request_id']}"
    assert wait_for(lambda: healthy.http.get(url).json()["status"] == "answered", 60)

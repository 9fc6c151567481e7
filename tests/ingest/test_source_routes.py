"""The seed routes, sentence by sentence of the lessons that describe them (capstone, and week 1)."""

import json
from typing import Any

import httpx
import pytest

from streams.request_rules.chat import MAX_CONTENT_CHARS, MAX_MESSAGES
from tests.ingest.fakes import Rig, answered, blocked

COURSE = ["/api/v1/chat/completions", "/api/v1/chat/completions/stream"]
HELLO = {"role": "user", "content": "Hello"}


async def test_template_is_general_chat_and_stream_is_false_by_default(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """`class ChatRequest: query: str; user_id: str; template: str = "general_chat"; stream: bool = False`."""
    wired.pipeline.replies_with(answered())
    response = await client.post("/v1/chat", json={"query": "Why?", "user_id": "user_001"})
    assert response.headers["content-type"] == "application/json"
    named = {"query": "Why?", "user_id": "user_001", "template": "general_chat", "stream": False}
    assert (await client.post("/v1/chat", json=named)).status_code == 200
    assert [sent.request.stream for sent in wired.pipeline.sent] == [False, False]


@pytest.mark.parametrize("missing", ["query", "user_id"])
async def test_query_and_user_id_are_required(client: httpx.AsyncClient, missing: str) -> None:
    """Fields without a default; the error says which."""
    body = {"query": "Why?", "user_id": "user_001"}
    del body[missing]
    response = await client.post("/v1/chat", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, missing)


async def test_the_stream_is_data_token_and_then_data_done(wired: Rig, client: httpx.AsyncClient) -> None:
    r"""`yield f"data: {json.dumps({'token': token})}\n\n"`, `yield "data: [DONE]\n\n"`, as event-stream."""
    wired.pipeline.replies_with(answered(content="Paris is\n\nthe capital."))
    response = await client.post("/v1/chat", json={"query": "Why?", "user_id": "u", "stream": True})
    assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
    data = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    assert "".join(json.loads(each)["token"] for each in data[:-1]) == "Paris is\n\nthe capital."
    assert {name for each in data[:-1] for name in json.loads(each)} == {"token"}
    assert response.text.endswith("data: [DONE]\n\n")


async def test_a_blocked_response_has_request_id_blocked_reason_latency_and_cost(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """`_blocked_response` returns these five."""
    wired.pipeline.replies_with(blocked())
    body = (await client.post("/v1/chat", json={"query": "Why?", "user_id": "u"})).json()
    assert body.keys() >= {"request_id", "blocked", "reason", "latency_ms", "cost_usd"}
    assert (body["blocked"], body["cost_usd"]) == (True, 0)


async def test_the_chat_response_is_content_model_usage_and_latency(
    wired: Rig, client: httpx.AsyncClient
) -> None:
    """`class ChatResponse: content: str; model: str; usage: dict[str, int]; latency_ms: float`."""
    wired.pipeline.replies_with(answered())
    body = (await client.post(COURSE[0], json={"messages": [HELLO]})).json()
    assert (body["content"], body["model"]) == ("Paris is the capital.", "gpt-4o-mini")
    names = ("input_tokens", "output_tokens", "total_tokens")
    assert [body["usage"][name] for name in names] == [12, 5, 17]
    assert isinstance(body["latency_ms"], float)


@pytest.mark.parametrize("path", COURSE)
@pytest.mark.parametrize("role", ["assistant", "tool"])
async def test_the_first_message_must_be_system_or_user(
    wired: Rig, client: httpx.AsyncClient, path: str, role: str
) -> None:
    """`raise ValueError("First message must be system or user")`; OpenAI's own route takes it."""
    first = (
        {"role": role, "content": "Hello", "tool_call_id": "c"} if role == "tool" else HELLO | {"role": role}
    )
    response = await client.post(path, json={"messages": [first, HELLO]})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages[0].role")
    assert wired.pipeline.sent == []
    wired.pipeline.replies_with(answered())
    assert (await client.post("/v1/chat/completions", json={"messages": [first, HELLO]})).status_code == 200


@pytest.mark.parametrize("role", ["system", "user"])
async def test_system_and_user_may_come_first(wired: Rig, client: httpx.AsyncClient, role: str) -> None:
    """Either of them."""
    wired.pipeline.replies_with(answered())
    body = {"messages": [HELLO | {"role": role}, HELLO]}
    assert (await client.post(COURSE[0], json=body)).status_code == 200


@pytest.mark.parametrize("path", COURSE)
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [HELLO] * (MAX_MESSAGES + 1)}, "messages"),
        ({"messages": [HELLO, HELLO | {"content": ""}]}, "messages[1].content"),
        ({"messages": [HELLO | {"content": "x" * (MAX_CONTENT_CHARS + 1)}]}, "messages[0].content"),
        ({"messages": [HELLO | {"role": "robot"}]}, "messages[0].role"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4097}, "max_tokens"),
    ],
    ids=["none", "101", "empty", "32001", "role", "cold", "hot", "no_tokens", "4097_tokens"],
)
async def test_validation_errors_say_which_field(
    wired: Rig, client: httpx.AsyncClient, path: str, fields: dict[str, Any], param: str
) -> None:
    """1 to 100 messages of 1 to 32,000 characters, three roles, temperature 0 to 2, max_tokens 1 to 4096."""
    response = await client.post(path, json={"messages": [HELLO]} | fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert wired.pipeline.sent == []


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [HELLO] * MAX_MESSAGES},
        {"messages": [HELLO | {"content": "x" * MAX_CONTENT_CHARS}]},
        {"temperature": 0.0, "max_tokens": 1},
        {"temperature": 2.0, "max_tokens": 4096},
    ],
    ids=["100", "32000", "least", "most"],
)
async def test_the_limits_themselves_are_allowed(
    wired: Rig, client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    """`ge`, `le`, `min_length`, `max_length`."""
    wired.pipeline.replies_with(answered())
    assert (await client.post(COURSE[0], json={"messages": [HELLO]} | fields)).status_code == 200

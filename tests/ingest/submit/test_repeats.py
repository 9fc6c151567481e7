"""The same `Idempotency-Key` again, on every route: what is given again says so, a failure runs anew."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from streams.events import Embeddings, ErrorInfo, Reply, Status
from tests.ingest.fakes import Rig, answered, blocked, failed

KEY = {"Idempotency-Key": "order-7"}
_TURNS = [{"role": "user", "content": "capital of France?"}]
_OPENAI = {"model": "gpt-4o-mini", "messages": _TURNS}
_ANTHROPIC = {"model": "claude-3-5-sonnet", "max_tokens": 9, "messages": _TURNS}
_NATIVE = {"user_id": "ada", "query": "capital of France?"}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat": _NATIVE,
    "/v1/chat/completions": _OPENAI,
    "/api/v1/chat/completions": _OPENAI,
    "/v1/messages": _ANTHROPIC,
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "canal"},
}
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/chat": _NATIVE | {"stream": True},
    "/v1/chat/completions": _OPENAI | {"stream": True},
    "/api/v1/chat/completions/stream": _OPENAI,
    "/v1/messages": _ANTHROPIC | {"stream": True},
}
VECTOR = Embeddings(count=1, dimensions=1, vectors=b"\0\0\0\0")
PAID = failed("api_error", "internal_error", cost_usd=Decimal(1))


def settled(wired: Rig, reply: Reply) -> None:
    """End the request that was sent last with this reply, as the cost stage stores it."""
    wired.registry.settle(Reply(**{**fields_of(reply), "request_id": wired.pipeline.sent[-1].key}))


def fields_of(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in reply.__struct_fields__}


def says_repeat(found: Any) -> bool:
    """Whether any object in a body says that it is a repeat."""
    if isinstance(found, dict):
        return found.get("repeat") is True or any(says_repeat(each) for each in found.values())
    return isinstance(found, list) and any(says_repeat(each) for each in found)


def events(response: httpx.Response) -> Iterable[Any]:
    """The events of a stream that hold JSON."""
    for line in response.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "reply", [answered(embeddings=VECTOR), failed("api_error", "x", cost_usd=Decimal(1))]
)
async def test_a_repeat_says_so(wired: Rig, client: httpx.AsyncClient, path: str, reply: Reply) -> None:
    """In the header and in the body, also where it is an error; the first reply does neither."""
    wired.pipeline.replies_with(reply)
    first = await client.post(path, json=ROUTES[path], headers=KEY)
    settled(wired, reply)
    second = await client.post(path, json=ROUTES[path], headers=KEY)
    assert first.status_code == second.status_code == (500 if reply.error else 200)
    assert ["idempotent-replayed" in each.headers for each in (first, second)] == [False, True]
    assert [says_repeat(each.json()) for each in (first, second)] == [False, True]
    assert (len(wired.pipeline.sent), second.headers.get("x-should-retry")) == (
        1,
        "false" if reply.error else None,
    )


@pytest.mark.parametrize("path", STREAMS)
async def test_a_streamed_repeat_says_so(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """In an event that the route's clients tolerate."""
    wired.pipeline.replies_with(answered())
    first = await client.post(path, json=STREAMS[path], headers=KEY)
    settled(wired, answered())
    second = await client.post(path, json=STREAMS[path], headers=KEY)
    assert ["idempotent-replayed" in each.headers for each in (first, second)] == [False, True]
    assert [any(says_repeat(each) for each in events(found)) for found in (first, second)] == [False, True]
    assert len(wired.pipeline.sent) == 1


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "reply",
    [
        answered(content="I apologize", status=Status.DEGRADED, cost_usd=Decimal(0), embeddings=VECTOR),
        failed("timeout_error", "deadline_exceeded"),
        failed("unavailable_error", "dependency_unavailable"),
        Reply(request_id="r", status=Status.CANCELLED),
    ],
)
async def test_a_failure_runs_anew(wired: Rig, client: httpx.AsyncClient, path: str, reply: Reply) -> None:
    """As a request of its own; its answer is what every further repeat gets."""
    wired.pipeline.replies_with(reply)
    first = await client.post(path, json=ROUTES[path], headers=KEY)
    settled(wired, reply)
    wired.pipeline.replies_with(answered(embeddings=VECTOR))
    second = await client.post(path, json=ROUTES[path], headers=KEY)
    settled(wired, answered(embeddings=VECTOR))
    third = await client.post(path, json=ROUTES[path], headers=KEY)
    assert (second.status_code, third.status_code) == (200, 200)
    ids = [each.headers["x-request-id"] for each in (first, second, third)]
    assert ids[0] != ids[1] == ids[2]
    assert [says_repeat(each.json()) for each in (second, third)] == [False, True]
    assert len(wired.pipeline.sent) == 2


@pytest.mark.parametrize(
    "reply", [blocked(), failed("invalid_request_error", "context_length_exceeded", param="messages")]
)
async def test_a_judgement_stands(wired: Rig, client: httpx.AsyncClient, reply: Reply) -> None:
    """What policy or the sender's own mistake has ended is given again."""
    wired.pipeline.replies_with(reply)
    await client.post("/v1/chat/completions", json=_OPENAI, headers=KEY)
    settled(wired, reply)
    again = await client.post("/v1/chat/completions", json=_OPENAI, headers=KEY)
    assert (again.status_code, again.json()["error"]["repeat"]) == (400, True)
    assert len(wired.pipeline.sent) == 1


async def test_another_body_is_a_conflict_for_the_new_run_too(wired: Rig, client: httpx.AsyncClient) -> None:
    """A key stands for one body."""
    error = ErrorInfo(type="api_error", code="internal_error", message="a bug")
    reply = Reply(request_id="r", status=Status.FAILED, error=error)
    wired.pipeline.replies_with(reply)
    await client.post("/v1/chat/completions", json=_OPENAI, headers=KEY)
    settled(wired, reply)
    other = await client.post("/v1/chat/completions", json=_OPENAI | {"seed": 1}, headers=KEY)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert len(wired.pipeline.sent) == 1

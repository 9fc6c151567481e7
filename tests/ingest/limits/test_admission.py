"""Limits on the routes: what is counted, what is held and until when, what is told."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from ingest.main import create_app
from streams.events import Delta, Usage
from tests.ingest.fakes import KEY, Rig, answered, failed, limited, rig
from tests.ingest.submit.test_client_disconnects import CHAT, COMPLETIONS, STREAM, asked, until

NATIVE = {"user_id": "ada", "query": "capital of France?"}
TURNS = [{"role": "user", "content": "capital of France?"}]
OPENAI = {"model": "gpt-4o-mini", "messages": TURNS}
ANTHROPIC = {"model": "claude-3-5-sonnet", "max_tokens": 9, "messages": TURNS}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat": NATIVE,
    "/v1/requests": NATIVE,
    "/v1/chat/completions": OPENAI,
    "/v1/messages": ANTHROPIC,
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "canal"},
}


def one_at_a_time(wired: Rig) -> None:
    limited(wired, per_user={"concurrent_requests": 1})


def lines(*users: str, max_tokens: int = 100) -> str:
    """A batch with a line for each of these users."""
    return "\n".join(
        json.dumps(
            {
                "custom_id": f"line-{at}",
                "method": "POST",
                "url": "/v1/requests",
                "body": {"user_id": user, "query": "canal?", "max_tokens": max_tokens},
            }
        )
        for at, user in enumerate(users)
    )


async def test_a_tier_without_limits_costs_nothing(wired: Rig, client: httpx.AsyncClient) -> None:
    """No round trip and no headers: of no record, and of one that limits nothing."""
    wired.pipeline.replies_with(answered())
    for limits in (None, {}):
        if limits is not None:
            limited(wired, **limits)
        for path in (*ROUTES, "/v1/batches"):
            sent = {"content": lines("ada")} if path == "/v1/batches" else {"json": ROUTES[path]}
            response = await client.post(path, **sent)  # type: ignore[arg-type]
            assert "x-ratelimit-limit-requests" not in response.headers
    assert wired.limiter.calls == 0


@pytest.mark.parametrize("path", ROUTES)
async def test_over_the_limit(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """The second of one a minute: nothing is registered or published, and the caller hears what to do."""
    limited(wired, per_key={"requests_per_minute": 1})
    wired.pipeline.replies_with(answered())
    first, second = [await client.post(path, json=ROUTES[path]) for _ in range(2)]
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert first.headers["x-ratelimit-reset-requests"] == "59.5s"
    assert second.status_code == 429
    assert second.headers["retry-after"] == "13"
    assert second.headers["retry-after-ms"] == "12300"
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    error = second.json()["error"]
    assert error["type"] == "rate_limit_error"
    assert error["code"] == "rate_limit_exceeded"
    assert error["param"] == "limits.enterprise.per_key.requests_per_minute"
    assert len(wired.pipeline.sent) == len(wired.registry.entries) == 1
    is_anthropic = path == "/v1/messages"
    assert (second.json().get("type") == "error") is is_anthropic
    assert ("anthropic-ratelimit-requests-reset" in second.headers) is is_anthropic


@pytest.mark.parametrize("path", ROUTES)
async def test_a_mistake_is_not_counted(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """Neither a body that is wrong nor a header."""
    limited(wired, per_key={"requests_per_minute": 1})
    assert (await client.post(path, json={"nonsense": 1})).status_code == 400
    headers = {"Idempotency-Key": ""}
    assert (await client.post(path, json=ROUTES[path], headers=headers)).status_code == 400
    assert wired.limiter.calls == 0


async def test_a_repeat_is_not_counted(wired: Rig, client: httpx.AsyncClient) -> None:
    """It gets its stored reply, where a new request is refused; its headers say what is left."""
    limited(wired, per_user={"requests_per_minute": 1, "concurrent_requests": 1})
    wired.pipeline.replies_with(answered())
    key = {"Idempotency-Key": "order-7"}
    assert (await client.post("/v1/chat", json=NATIVE, headers=key)).status_code == 200
    wired.registry.settle(answered(wired.pipeline.sent[0].key))
    repeat = await client.post("/v1/chat", json=NATIVE, headers=key)
    assert (repeat.status_code, repeat.json()["repeat"]) == (200, True)
    assert repeat.headers["x-ratelimit-remaining-requests"] == "0"
    assert (await client.post("/v1/chat", json=NATIVE)).status_code == 429


async def test_a_change_of_the_record_is_live(wired: Rig, client: httpx.AsyncClient) -> None:
    """The next request is under the limits that hold then."""
    limited(wired, per_user={"requests_per_minute": 1})
    wired.pipeline.replies_with(answered())
    assert [(await client.post("/v1/chat", json=NATIVE)).status_code for _ in "12"] == [200, 429]
    limited(wired, per_user={"requests_per_minute": 2})
    assert (await client.post("/v1/chat", json=NATIVE)).status_code == 200


@pytest.mark.parametrize("stream", ["", STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("route", [CHAT, COMPLETIONS], ids=["chat", "completions"])
async def test_a_permit_is_held_until_the_end(wired: Rig, route: tuple[str, str], stream: str) -> None:
    """Of the answer, or of the stream: not only until its first text."""
    one_at_a_time(wired)
    waiting = await asked(wired, route, stream)
    sent = wired.pipeline.sent[0]
    wired.services.hub.on_delta(Delta(request_id=sent.key, attempt=1, seq=0, text="Paris"))
    await until(lambda: waiting.received or not stream)
    assert wired.limiter.held == 1
    wired.services.hub.on_reply(answered(sent.key), sent.correlation_id)
    await until(waiting.task.done)
    await until(lambda: wired.limiter.held == 0)


@pytest.mark.parametrize("text", ["", "Paris"], ids=["before the first text", "within the stream"])
@pytest.mark.parametrize("stream", ["", STREAM], ids=["whole", "stream"])
async def test_a_client_that_leaves_holds_nothing(wired: Rig, stream: str, text: str) -> None:
    """Wherever it leaves."""
    one_at_a_time(wired)
    waiting = await asked(wired, CHAT, stream)
    if text:
        key = wired.pipeline.sent[0].key
        wired.services.hub.on_delta(Delta(request_id=key, attempt=1, seq=0, text=text))
        await until(lambda: waiting.received or not stream)
    await waiting.leave()
    await until(lambda: wired.limiter.held == 0)


def _kafka_is_away(wired: Rig) -> None:
    wired.pipeline.broken = True


def _registry_is_full(wired: Rig) -> None:
    wired.registry.full = True


def _nobody_may_wait(wired: Rig) -> None:
    wired.services.hub._max_listeners = 0


def _deadline_passes(wired: Rig) -> None:
    del wired  # nothing answers


def _pipeline_fails(wired: Rig) -> None:
    wired.pipeline.replies_with(failed("api_error", "internal_error"))


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/requests"])
@pytest.mark.parametrize("fault", [_kafka_is_away, _registry_is_full])
async def test_what_fails_holds_nothing(
    wired: Rig, client: httpx.AsyncClient, path: str, fault: Callable[[Rig], None]
) -> None:
    """A request that could not be accepted."""
    one_at_a_time(wired)
    fault(wired)
    response = await client.post(path, json=NATIVE)
    assert response.status_code == 503
    await until(lambda: wired.limiter.held == 0)
    assert wired.limiter.calls == 1


@pytest.mark.parametrize(
    ("fault", "stream", "status"),
    [
        (_nobody_may_wait, False, 503),
        (_nobody_may_wait, True, 503),
        (_pipeline_fails, False, 500),
        (_pipeline_fails, True, 500),
        (_deadline_passes, False, 504),
        (_deadline_passes, True, 200),  # its stream says so
    ],
)
async def test_an_error_holds_nothing(
    wired: Rig, client: httpx.AsyncClient, fault: Callable[[Rig], None], stream: bool, status: int
) -> None:
    """Whatever the request ends in; and the error has the headers of the limits."""
    limited(wired, per_user={"concurrent_requests": 1, "requests_per_minute": 9})
    fault(wired)
    response = await client.post("/v1/chat", json=NATIVE | {"stream": stream, "deadline_ms": 30})
    assert response.status_code == status
    assert response.headers["x-ratelimit-remaining-requests"] == "8"
    await until(lambda: wired.limiter.held == 0)


async def test_a_fault_of_ours_holds_nothing(wired: Rig) -> None:
    """A bug in rendering an answer is a 500, and no permit."""
    one_at_a_time(wired)
    wired.pipeline.replies_with(answered(similarity="no number"))
    transport = httpx.ASGITransport(create_app(wired.services), raise_app_exceptions=False)
    headers = {"X-API-Key": KEY}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as http:
        assert (await http.post("/v1/chat", json=NATIVE)).status_code == 500
    await until(lambda: wired.limiter.held == 0)


async def test_a_request_that_nobody_waits_for(wired: Rig, client: httpx.AsyncClient) -> None:
    """Holds its permit until its reply passes this replica, and its tokens are settled then."""
    limited(wired, per_user={"concurrent_requests": 1, "tokens_per_minute": 2_000})
    assert (await client.post("/v1/requests", json=NATIVE)).status_code == 202
    assert wired.limiter.held == 1
    assert (await client.post("/v1/requests", json=NATIVE)).status_code == 429
    sent = wired.pipeline.sent[0]
    wired.services.hub.on_reply(answered(sent.key), sent.correlation_id)
    await until(lambda: wired.limiter.held == 0)
    assert list(wired.limiter.tokens.values()) == [17]


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/embeddings", "/v1/messages"])
async def test_tokens_are_reserved_and_settled(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """At first the input and the most that it may answer; then what it used, also of a stream."""
    limited(wired, per_tenant={"tokens_per_minute": 5_000})
    seen: list[int] = []

    def script(sent: Any, hub: Any) -> None:
        seen.extend(wired.limiter.tokens.values())
        usage = Usage(input_tokens=20, output_tokens=8)
        hub.on_reply(answered(sent.key, usage=usage), sent.correlation_id)

    wired.pipeline.script = script
    streams = [{}] if path == "/v1/embeddings" else [{}, {"stream": True}]
    for body in streams:
        response = await client.post(path, json=ROUTES[path] | body)
        assert "x-ratelimit-remaining-tokens" in response.headers
    reserved = {"/v1/chat": 4 + 1024, "/v1/messages": 11 + 9, "/v1/embeddings": 1}[path]
    assert seen[0] in range(reserved, reserved + 3)
    await until(lambda: list(wired.limiter.tokens.values()) == [28 * len(streams)])


async def test_tokens_are_not_counted_where_nothing_limits_them(
    wired: Rig, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting costs processor time."""
    monkeypatch.delattr("ingest.limits.admission.input_tokens")
    limited(wired, per_user={"requests_per_minute": 10})
    wired.pipeline.replies_with(answered())
    response = await client.post("/v1/chat", json=NATIVE)
    assert response.status_code == 200
    assert "x-ratelimit-limit-tokens" not in response.headers


async def test_a_request_larger_than_the_limit(wired: Rig, client: httpx.AsyncClient) -> None:
    """It is told that it can never pass, and SDKs do not try again."""
    limited(wired, per_user={"tokens_per_minute": 500})
    response = await client.post("/v1/chat", json=NATIVE | {"max_tokens": 600})
    assert (response.status_code, response.json()["error"]["code"]) == (429, "request_larger_than_limit")
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    long = NATIVE | {"query": "word " * 3_000, "max_tokens": 5}  # counted in a thread
    assert (await client.post("/v1/chat", json=long)).status_code == 429


async def test_a_batch_counts_by_its_lines(wired: Rig, client: httpx.AsyncClient) -> None:
    """As a whole or not at all, each line for its own user; sent again it counts no more."""
    limited(
        wired,
        per_user={"requests_per_minute": 3, "concurrent_requests": 1},
        per_key={"requests_per_minute": 50, "tokens_per_minute": 1_000},
    )
    key = {"Idempotency-Key": "b-1"}
    for _ in range(2):
        response = await client.post("/v1/batches", content=lines("ada", "ada", "bob"), headers=key)
        assert response.status_code == 202
        assert response.headers["x-ratelimit-remaining-tokens"] < "700"
    assert sorted(wired.limiter.requests.values()) == [1, 2, 3]
    assert wired.limiter.tokens.most_common(1)[0][1] in range(300, 330)
    refused = await client.post("/v1/batches", content=lines("ada", "ada"))
    assert refused.status_code == 429
    assert refused.json()["error"]["param"] == "limits.enterprise.per_user.requests_per_minute"
    assert (len(wired.pipeline.sent), len(wired.batches.records)) == (3, 1)
    never = await client.post("/v1/batches", content=lines("eve", "eve", "eve", "eve"))
    assert never.json()["error"]["code"] == "request_larger_than_limit"
    assert wired.limiter.held == 0


@pytest.mark.parametrize("path", [*ROUTES, "/v1/batches"])
async def test_redis_away(wired: Rig, client: httpx.AsyncClient, path: str) -> None:
    """The same 503 as the registry's: without counting nothing is accepted."""
    limited(wired, per_key={"requests_per_minute": 10})
    wired.limiter.broken = True
    sent = {"content": lines("ada")} if path == "/v1/batches" else {"json": ROUTES[path]}
    response = await client.post(path, **sent)  # type: ignore[arg-type]
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert wired.pipeline.sent == []


async def test_by_address() -> None:
    """Each client behind a trusted proxy counts for itself."""
    wired = rig(trusted_proxies=["127.0.0.1/32"])
    limited(wired, per_address={"requests_per_minute": 1})
    wired.pipeline.replies_with(answered())
    transport = httpx.ASGITransport(create_app(wired.services), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as http:
        found = [
            await http.post("/v1/chat", json=NATIVE, headers={"X-API-Key": KEY, "X-Forwarded-For": hops})
            for hops in ("192.0.2.1", "192.0.2.2", "192.0.2.99, 192.0.2.1")
        ]
    assert [each.status_code for each in found] == [200, 200, 429]
    assert "'192.0.2.1'" in found[2].json()["error"]["message"]


async def test_official_clients_raise_their_own_error(wired: Rig, client: httpx.AsyncClient) -> None:
    """With what the error says, and the headers."""
    limited(wired, per_key={"requests_per_minute": 1})
    wired.pipeline.replies_with(answered())
    await client.post("/v1/chat", json=NATIVE)
    theirs = openai.AsyncOpenAI(api_key=KEY, base_url="http://ingest/v1", http_client=client, max_retries=0)
    with pytest.raises(openai.RateLimitError) as refused:
        await theirs.chat.completions.create(model="gpt-4o-mini", messages=TURNS)  # type: ignore[arg-type]
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after-ms"] == "12300"
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(wired.services))) as http,
        anthropic.AsyncAnthropic(
            api_key=KEY, base_url="http://ingest", http_client=http, max_retries=0
        ) as anthropics,
    ):
        with pytest.raises(anthropic.RateLimitError) as also:
            await anthropics.messages.create(**ANTHROPIC)
    assert also.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"

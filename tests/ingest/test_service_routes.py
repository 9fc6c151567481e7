"""Health, costs, cache statistics, and what holds for every route."""

from typing import Any

import httpx
import pytest
import structlog

from ingest.main import create_app
from streams.redis.memory import MemoryState, StoreMemory
from tests.ingest.fakes import KEY, OTHER_KEY, Rig, answered, rig

QUESTION = {"user_id": "ada", "query": "capital of France?"}


def _http(wired: Rig, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(wired.services), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers)


@pytest.mark.parametrize(
    ("down", "status", "word"),
    [
        (set(), 200, "healthy"),
        ({"clickhouse"}, 200, "degraded"),
        ({"kafka"}, 503, "unhealthy"),
        ({"redis"}, 503, "unhealthy"),
    ],
)
async def test_health_and_readiness(
    wired: Rig, client: httpx.AsyncClient, down: set[str], status: int, word: str
) -> None:
    """ClickHouse down stops no answers; without Kafka or Redis none can be accepted. No address shows."""
    wired.down.update(down)
    response = await client.get("/health", headers={"Authorization": ""})
    assert (response.status_code, response.json()["status"]) == (status, word)
    checks = response.json()["checks"]
    assert {name for name, check in checks.items() if check["status"] == "down"} == down
    assert "10.0.0.3" not in response.text
    assert (await client.get("/ready")).status_code == status


@pytest.mark.parametrize(
    ("state", "status", "word"),
    [
        (MemoryState.OK, 200, "healthy"),
        (MemoryState.UNLIMITED, 200, "healthy"),
        (MemoryState.LOW, 200, "degraded"),
        (MemoryState.FULL, 503, "unhealthy"),
    ],
)
async def test_how_full_redis_is_shows(
    wired: Rig, client: httpx.AsyncClient, state: MemoryState, status: int, word: str
) -> None:
    """In numbers; while it is full no request is accepted, and readiness says so."""
    wired.memory["redis"] = StoreMemory(used_bytes=7, limit_bytes=9, state=state, note="set its maxmemory")
    response = await client.get("/health")
    assert (response.status_code, response.json()["status"]) == (status, word)
    assert response.json()["checks"]["redis"]["memory"] == {
        "used_bytes": 7,
        "limit_bytes": 9,
        "state": state.value,
        "note": "set its maxmemory",
    }
    ready = await client.get("/ready")
    assert (ready.status_code, ready.json()["missing"]) == (status, ["redis_memory"] * (status == 503))


async def test_while_redis_is_full_new_requests_are_refused(wired: Rig, client: httpx.AsyncClient) -> None:
    """503 with the time to come again; one that is known goes on."""
    headers = {"Idempotency-Key": "k"}
    assert (await client.post("/v1/requests", json=QUESTION, headers=headers)).status_code == 202
    wired.registry.full = True
    response = await client.post("/v1/requests", json=QUESTION)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "no memory left for anything new" in response.json()["error"]["message"]
    assert (await client.post("/v1/requests", json=QUESTION, headers=headers)).status_code == 202


async def test_too_many_senders_of_one_request_are_refused(wired: Rig, client: httpx.AsyncClient) -> None:
    """429, and what to do instead; the request goes on."""
    headers = {"Idempotency-Key": "k"}
    wired.registry.max_waiters = 0
    accepted = await client.post("/v1/requests", json=QUESTION, headers=headers)
    wired.registry.entries[accepted.json()["request_id"]].state = "running"
    response = await client.post("/v1/requests", json=QUESTION, headers=headers)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (429, "too_many_repeats")
    assert (error["type"], response.headers["retry-after"]) == ("rate_limit_error", "5")


async def test_a_dead_reply_loop_shows(wired: Rig, client: httpx.AsyncClient) -> None:
    """Without it no client would ever get its reply: the process should be restarted."""
    assert (await client.get("/live")).status_code == 200
    wired.loop.alive = wired.loop.connected = False
    assert (await client.get("/live")).status_code == 503
    assert (await client.get("/ready")).json() == {"status": "not ready", "missing": ["reply_loop"]}
    assert (await client.get("/health")).status_code == 503


@pytest.mark.parametrize("path", ["/v1/costs", "/v1/cache/stats"])
async def test_summaries_are_the_tenants_own(path: str) -> None:
    """Each key reads its tenant's."""
    wired = rig(spend={"acme": {"n": 1}, "zeta": {"n": 2}})
    async with _http(wired) as http:
        for key, number in ((KEY, 1), (OTHER_KEY, 2)):
            assert (await http.get(path, headers={"X-API-Key": key})).json() == {"n": number}


@pytest.mark.parametrize("path", ["/v1/costs", "/v1/cache/stats"])
async def test_summaries_without_clickhouse(client: httpx.AsyncClient, path: str) -> None:
    """503 with the error object."""
    response = await client.get(path)
    assert (response.status_code, response.json()["error"]["type"]) == (503, "unavailable_error")
    assert "10.0.0.2" not in response.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/api/v1/chat/completions"),
        ("POST", "/api/v1/chat/completions/stream"),
        ("POST", "/v1/requests"),
        ("GET", "/v1/requests/r-1"),
        ("GET", "/v1/requests/r-1/events"),
        ("GET", "/v1/costs"),
        ("GET", "/v1/cache/stats"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}])
async def test_a_key_is_needed(wired: Rig, method: str, path: str, headers: dict[str, str]) -> None:
    """401 with the error object, before the body is even read."""
    async with _http(wired, **headers) as http:
        response = await http.request(method, path, content=b"{")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
async def test_either_header_carries_the_key(wired: Rig, headers: dict[str, str]) -> None:
    """OpenAI's way and the plain one."""
    wired.pipeline.replies_with(answered())
    async with _http(wired, **headers) as http:
        assert (await http.post("/v1/chat", json=QUESTION)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_route"),
        ("GET", "/v1/chat", 405, "method_not_allowed"),
        ("POST", "/v1/chat", 400, "invalid_json"),
    ],
)
async def test_every_error_is_the_error_object(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """With the request id that is in the header too."""
    response = await client.request(method, path, content=b"{")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error.keys() == {"message", "type", "code", "param", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]


async def test_a_long_body(client: httpx.AsyncClient) -> None:
    """413 for a body with a length, and for one in chunks."""

    async def chunks() -> Any:
        for _ in range(30):
            yield b"x" * 10_000

    for content in (b"x" * 300_000, chunks()):
        response = await client.post("/v1/chat", content=content)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_fault_shows_nothing_of_its_inside(wired: Rig) -> None:
    """500 with the request id; the log has the rest."""

    def explode(*_: object) -> None:
        raise RuntimeError("secret detail")

    wired.pipeline.script = explode
    async with _http(wired, Authorization=f"Bearer {KEY}") as http:
        response = await http.post("/v1/chat", json=QUESTION)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]
    assert wired.services.hub.in_flight == 0


async def test_the_access_log_has_one_line_and_no_text(wired: Rig, client: httpx.AsyncClient) -> None:
    """Id, route, status, duration and tenant; never the key or what was asked."""
    wired.pipeline.replies_with(answered())
    with structlog.testing.capture_logs() as lines:
        response = await client.post("/v1/chat?secret=1", json=QUESTION)
    [line] = [line for line in lines if line["event"] == "http.request"]
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["route"], line["status"], line["tenant"]) == ("/v1/chat", 200, "acme")
    assert line["duration_ms"] > 0
    assert not any(word in str(lines) for word in (KEY, "France", "secret"))


async def test_only_configured_origins_are_let_in() -> None:
    """A browser on another site gets no permission."""
    wired = rig(cors_origins=("https://app.example",))
    async with _http(wired) as http:
        for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            response = await http.options("/v1/chat", headers=headers)
            assert ("access-control-allow-origin" in response.headers) is allowed
            assert "x-request-id" in response.headers


async def test_no_origin_is_let_in_by_default(client: httpx.AsyncClient) -> None:
    """CORS is off where nothing is configured."""
    response = await client.get("/health", headers={"Origin": "https://app.example"})
    assert "access-control-allow-origin" not in response.headers


async def test_the_bodies_are_described(client: httpx.AsyncClient) -> None:
    """`/docs` shows the very fields that are decoded."""
    document = (await client.get("/openapi.json")).json()
    chat = document["paths"]["/v1/chat"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert chat == {"$ref": "#/components/schemas/ChatBody"}
    assert "deadline_ms" in document["components"]["schemas"]["ChatBody"]["properties"]
    assert "SentMessage" in document["components"]["schemas"]
    assert (await client.get("/docs")).status_code == 200

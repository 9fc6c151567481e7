"""Two replicas with one Redis: the limits hold over both of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from ingest.limits.admission import RequestLimits
from ingest.main import create_app
from streams.limits.limiter import RateLimiter
from streams.redis import connection
from tests.ingest.fakes import KEY, answered, limited, rig
from tests.ingest.limits.test_admission import NATIVE

pytestmark = pytest.mark.integration


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of two ingests, each with its own connection to one Redis; the pipeline answers at once."""
    clients, connections = [], []
    for _ in range(2):
        wired = rig(max_concurrent_requests=2_000)
        limited(
            wired,
            per_user={"requests_per_minute": 10, "concurrent_requests": 10, "tokens_per_minute": 90_000},
        )
        wired.pipeline.replies_with(answered())
        redis = connection.connect(redis_url, timeout_s=30)
        limiter = RateLimiter(redis)
        limits = RequestLimits(wired.services.settings, wired.services.control, limiter, timeout_s=30.0)
        transport = httpx.ASGITransport(create_app(replace(wired.services, limits=limits)))
        clients.append(
            httpx.AsyncClient(
                transport=transport, base_url="http://ingest", headers={"X-API-Key": KEY}, timeout=120
            )
        )
        connections.append((redis, limits))
    yield clients
    for client, (redis, limits) in zip(clients, connections, strict=True):
        await client.aclose()
        await limits.close()
        await redis.aclose()


async def test_a_thousand_requests_at_once_with_room_for_ten(replicas: list[httpx.AsyncClient]) -> None:
    """Exactly ten are answered; the 990 others get a 429 that says when to come back."""
    body = NATIVE | {"user_id": f"ada-{id(replicas)}"}
    found = await asyncio.gather(
        *(replicas[at % 2].post("/v1/chat", json=body | {"query": f"{at}?"}) for at in range(1_000))
    )
    assert Counter(each.status_code for each in found) == {200: 10, 429: 990}
    refused = [each for each in found if each.status_code == 429]
    # A moment's refusals may be for requests at a time; the others are for requests a minute.
    rules = {each.json()["error"]["param"].rpartition(".")[2] for each in refused}
    assert rules <= {"requests_per_minute", "concurrent_requests"}
    assert all(0 < int(each.headers["retry-after-ms"]) <= 60_000 for each in refused)
    late = await replicas[0].post("/v1/chat", json=body)
    assert 50 < int(late.headers["retry-after"]) <= 60
    assert late.headers["x-ratelimit-remaining-requests"] == "0"
    # Ten answers of 17 tokens take the place of what was reserved, beside the requests.
    async with asyncio.timeout(10):
        while late.headers["x-ratelimit-remaining-tokens"] != str(90_000 - 10 * 17):
            late = await replicas[0].post("/v1/chat", json=body)

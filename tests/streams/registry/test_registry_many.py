"""Many requests looked up at once, on a real Redis."""

from collections.abc import AsyncIterator
from decimal import Decimal
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from streams.errors import StoreUnavailable
from streams.events import ErrorInfo, Reply, ReplyAddress, Status, Usage
from streams.redis import connection
from streams.registry.registry import RequestRegistry, RequestSummary

pytestmark = pytest.mark.integration

ADDRESS = ReplyAddress(topic="llm.replies.v1", partition=1, correlation_id=b"a")
#: Texts that look like what the registry looks for.
TRICKY = ('","status":"failed"', '{"request_id":"x","status":"blocked"', "é\n\\", "a" * 100_000)


@pytest.fixture
async def registry(redis_url: str) -> AsyncIterator[RequestRegistry]:
    client: Redis = connection.connect(redis_url, timeout_s=30)
    yield RequestRegistry(client, ttl_s=600)
    await client.aclose()


async def open_request(registry: RequestRegistry, tenant: str = "acme") -> str:
    request_id = f"Az0.{uuid4().hex}:_-"
    await registry.register(request_id, tenant=tenant, body="b", origin="o", running=False, reply_to=ADDRESS)
    return request_id


async def ended(registry: RequestRegistry, status: Status, content: str, tenant: str = "acme") -> str:
    request_id = await open_request(registry, tenant)
    error = ErrorInfo(type="api_error", code="c", message='"status":"answered","content":"')
    usage = Usage(input_tokens=1, output_tokens=2)
    reply = Reply(
        request_id=request_id, status=status, content=content, error=error, usage=usage, cost_usd=Decimal(1)
    )
    await registry.begin_settle(reply, tenant=tenant)
    return request_id


@pytest.mark.parametrize("status", Status)
async def test_how_each_ended_and_whether_there_is_text(registry: RequestRegistry, status: Status) -> None:
    """Whatever stands in the reply; from settling on, as `find` shows it."""
    ids = [await ended(registry, status, content) for content in (*TRICKY, "")]
    found = await registry.summaries_of(ids, tenant="acme")
    assert found == [*[RequestSummary(status, has_text=True)] * len(TRICKY), RequestSummary(status)]
    await registry.finish_settle(ids[0])
    assert await registry.summaries_of(ids[:1], tenant="acme") == found[:1]


async def test_those_that_have_not_ended_and_those_that_are_not_there(registry: RequestRegistry) -> None:
    """In the order of the question; another tenant's is not there."""
    mine, theirs = await open_request(registry), await open_request(registry, "zeta")
    done = await ended(registry, Status.CACHED, "x")
    done_there = await ended(registry, Status.CACHED, "x", "zeta")
    found = await registry.summaries_of([theirs, mine, "never", done, done_there], tenant="acme")
    assert found == [None, RequestSummary(), None, RequestSummary(Status.CACHED, has_text=True), None]
    assert await registry.summaries_of([], tenant="acme") == []


async def test_finding_many_is_finding_each(registry: RequestRegistry) -> None:
    """The same states, in order; None for what is unknown, and nothing for nothing."""
    ids = [await ended(registry, Status.ANSWERED, text) for text in TRICKY]
    ids += [await open_request(registry), "never"]
    assert await registry.find_many(ids) == [await registry.find(each) for each in ids]
    assert await registry.find_many([]) == []


async def test_without_redis() -> None:
    """One error of ours."""
    client = connection.connect("redis://127.0.0.1:9", timeout_s=0.5)
    registry = RequestRegistry(client, ttl_s=60)
    with pytest.raises(StoreUnavailable):
        await registry.find_many(["a"])
    with pytest.raises(StoreUnavailable):
        await registry.summaries_of(["a"], tenant="acme")
    await client.aclose()

"""Records of batches, on a real Redis."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from ingest.batches.batch import BatchStore, batch_key
from ingest.batches.lines import LineName
from streams.errors import StoreFull, StoreUnavailable
from streams.redis import connection

pytestmark = pytest.mark.integration

TTL_S = 600
NAMES = (LineName("b", "/v1/requests"), LineName('"quoted" 北京 \n', "/v1/chat/completions"))


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def batches(redis: Redis) -> BatchStore:
    return BatchStore(redis, ttl_s=TTL_S)


@pytest.fixture
def batch_id() -> str:
    return f"batch_{uuid4().hex}"


async def test_a_batch_from_its_first_line_to_its_cancellation(batches: BatchStore, batch_id: str) -> None:
    """What was told comes back; each time is noted once."""
    begun = await batches.begin(batch_id, tenant="acme", digest="d", names=NAMES)
    assert (begun.batch_id, begun.tenant, begun.digest, begun.names) == (batch_id, "acme", "d", NAMES)
    assert (begun.created_at, begun.accepted_at, begun.cancelled_at) == (begun.submitted_at, None, None)
    accepted = await batches.accept(batch_id)
    assert accepted is not None
    assert accepted.accepted_at is not None
    assert accepted.accepted_at > begun.created_at
    assert await batches.accept(batch_id) == accepted
    cancelled = await batches.cancel(batch_id)
    assert cancelled is not None
    assert cancelled.cancelled_at is not None
    assert await batches.find(batch_id) == cancelled == await batches.cancel(batch_id)


async def test_the_same_batch_again(batches: BatchStore, redis: Redis, batch_id: str) -> None:
    """It is the first one, submitted anew; it is not kept for longer, or it would outlive its requests."""
    first = await batches.begin(batch_id, tenant="acme", digest="d", names=NAMES)
    await redis.expire(batch_key(batch_id), 60)
    again = await batches.begin(batch_id, tenant="acme", digest="d", names=NAMES)
    assert (again.created_at, again.submitted_at > first.submitted_at) == (first.created_at, True)
    assert 0 < await redis.ttl(batch_key(batch_id)) <= 60


async def test_another_batch_under_the_same_id(batches: BatchStore, batch_id: str) -> None:
    """The first one stays as it was."""
    first = await batches.begin(batch_id, tenant="acme", digest="d", names=NAMES)
    assert await batches.begin(batch_id, tenant="acme", digest="e", names=NAMES[:1]) == first


async def test_what_is_not_kept_any_more_does_not_come_back(
    batches: BatchStore, redis: Redis, batch_id: str
) -> None:
    """Noting something of it makes no record."""
    assert (await batches.accept(batch_id), await batches.cancel(batch_id)) == (None, None)
    assert not await redis.exists(batch_key(batch_id))
    await batches.begin(batch_id, tenant="acme", digest="d", names=NAMES)
    assert 0 < await redis.ttl(batch_key(batch_id)) <= TTL_S


async def test_the_biggest_batch_fits(batches: BatchStore, batch_id: str) -> None:
    """Ten thousand lines with the longest names, of the widest characters."""
    names = tuple(LineName(f"{number:05}" + "\U0001f680" * 123, "/v1/requests") for number in range(10_000))
    await batches.begin(batch_id, tenant="acme", digest="d", names=names)
    found = await batches.find(batch_id)
    assert found is not None
    assert found.names == names


async def test_without_redis() -> None:
    """One error of ours."""
    client = connection.connect("redis://127.0.0.1:9", timeout_s=0.5)
    with pytest.raises(StoreUnavailable):
        await BatchStore(client, ttl_s=TTL_S).find("batch_0")
    await client.aclose()


async def test_while_redis_is_nearly_full_no_batch_begins(redis: Redis) -> None:
    """Nothing is left of it; what is kept of others can be read."""
    full = BatchStore(redis, ttl_s=TTL_S, has_room=lambda: False)
    batch_id = uuid4().hex
    with pytest.raises(StoreFull):
        await full.begin(batch_id, tenant="acme", digest="d", names=())
    assert await full.find(batch_id) is None

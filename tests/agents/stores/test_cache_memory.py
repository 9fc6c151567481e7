"""What the cache does where Redis runs low on memory, on a real Redis of the test's own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import numpy as np
import pytest
from redis.asyncio import Redis

from agents.stores.answer_cache import AnswerCache, CachedAnswer
from streams.events import CacheSlot
from streams.redis import connection
from tests.fakes.cached_answers import entries

pytestmark = pytest.mark.integration

_VECTOR = np.ones(4, dtype="<f4").tobytes()


class Room:
    """Whether there is memory, at hand."""

    there = True

    def __call__(self) -> bool:
        return self.there


@pytest.fixture
async def redis(own_redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(own_redis_url, timeout_s=10)
    yield client
    await client.aclose()


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def cache(redis: Redis, room: Room) -> AnswerCache:
    return AnswerCache(redis, ttl_s=3600, max_entries=1_000, has_room=room)


def answer(content: str = "a") -> CachedAnswer:
    return CachedAnswer(
        request_id="r-1",
        text="q",
        content=content,
        model="gpt-4o",
        provider="openai",
        finish_reason="stop",
        cached_at=datetime.now(UTC),
    )


async def put(cache: AnswerCache, tenant: str, count: int) -> None:
    for number in range(count):
        slot = CacheSlot(scope=f"scope-{tenant}", exact_key=f"q{number}", text="q", static_vector=_VECTOR)
        await cache.put(slot, answer(), tenant=tenant)


async def test_nothing_is_kept_while_memory_is_low(cache: AnswerCache, redis: Redis, room: Room) -> None:
    """It saves work, and no more: the answer itself is not concerned."""
    room.there = False
    await put(cache, "acme", 3)
    assert await redis.dbsize() == 0
    room.there = True
    await put(cache, "acme", 3)
    assert await entries(cache, "acme") == 3


async def test_an_answer_that_is_too_long_is_not_kept(cache: AnswerCache, redis: Redis) -> None:
    """So one entry has a bound, as all of them have."""
    slot = CacheSlot(scope="s", exact_key="q", text="q")
    await cache.put(slot, answer("a" * 300_000), tenant="acme")
    assert await redis.dbsize() == 0


async def test_it_gives_back_what_the_greediest_tenant_has(cache: AnswerCache) -> None:
    """The others keep theirs for as long as somebody has more; what expires first leaves first."""
    await put(cache, "greedy", 300)
    await put(cache, "modest", 20)
    assert await cache.shrink(200) >= 200
    assert await entries(cache, "modest") == 20
    assert 20 < await entries(cache, "greedy") <= 100


async def test_it_can_give_back_everything(cache: AnswerCache, redis: Redis) -> None:
    """Also at the limit itself, where Redis takes no other write: answers, vectors and indices go."""
    await put(cache, "acme", 100)
    await put(cache, "zeta", 70)
    await redis.config_set("maxmemory", 1)
    assert await cache.shrink() == 170
    assert await cache.shrink() == 0
    assert await redis.dbsize() == 0

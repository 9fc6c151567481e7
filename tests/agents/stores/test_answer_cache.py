"""The cache's store, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from agents.stores.answer_cache import AnswerCache, CacheCandidate, CachedAnswer, CacheFinding
from streams.errors import StoreUnavailable
from streams.events import CacheSlot
from streams.redis import connection
from tests.fakes.cached_answers import entries
from tests.fakes.embedders import WordEmbedder
from tests.fakes.envelopes import NOW

pytestmark = pytest.mark.integration


class Clock:
    """Seconds since the epoch, at hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def cache(redis: Redis, clock: Clock) -> AnswerCache:
    return AnswerCache(redis, ttl_s=3600, max_entries=5, clock=clock)


@pytest.fixture
def scope() -> str:
    return uuid4().hex


@pytest.fixture
def tenant() -> str:
    return uuid4().hex


def answer(text: str = "q", content: str = "a", **fields: Any) -> CachedAnswer:
    given: dict[str, Any] = {
        "request_id": "r-1",
        "text": text,
        "content": content,
        "model": "gpt-4o",
        "provider": "openai",
        "finish_reason": "stop",
        "cached_at": NOW,
    }
    return CachedAnswer(**(given | fields))


async def exact(cache: AnswerCache, where: CacheSlot) -> CachedAnswer | None:
    return (await cache.look_up(where, asker=uuid4().hex, least=1)).exact


async def similar(cache: AnswerCache, where: CacheSlot, least: float = -1) -> list[CacheCandidate]:
    """As for another question with the same vector: an exact answer is all that is returned."""
    other = msgspec.structs.replace(where, exact_key=uuid4().hex)
    return list((await cache.look_up(other, asker=uuid4().hex, least=least)).similar)


async def slot(scope: str, text: str, *, vector: bool = True) -> CacheSlot:
    vectors = await WordEmbedder().embed([text])
    return CacheSlot(
        scope=scope,
        exact_key=text.replace(" ", "-"),
        text=text,
        static_vector=vectors[0].tobytes() if vector else None,
    )


async def test_an_answer_is_found_by_its_exact_key(cache: AnswerCache, scope: str, tenant: str) -> None:
    """In its own scope only."""
    await cache.put(await slot(scope, "one two"), answer("one two"), tenant=tenant)
    assert await exact(cache, await slot(scope, "one two")) == answer("one two")
    assert await exact(cache, await slot(scope, "one")) is None
    assert await exact(cache, await slot(uuid4().hex, "one two")) is None


async def test_who_was_sent_to_a_model_is_known_again(cache: AnswerCache, scope: str, tenant: str) -> None:
    """By request and replay: it finds no answer that is there meanwhile."""
    where, asker = await slot(scope, "q"), uuid4().hex
    await cache.put(where, answer(), tenant=tenant)
    assert not (await cache.look_up(where, asker=f"{asker}:0", least=0)).missed
    await cache.note_miss(f"{asker}:0")
    assert await cache.look_up(where, asker=f"{asker}:0", least=0) == CacheFinding(missed=True)
    assert (await cache.look_up(where, asker=f"{asker}:1", least=0)).exact == answer()


async def test_a_look_that_finds_nothing_notes_the_miss(cache: AnswerCache, scope: str, tenant: str) -> None:
    """In one step; whoever finds something may still take it."""
    where, asker, other = await slot(scope, "one two"), uuid4().hex, uuid4().hex
    assert await cache.look_up(where, asker=asker, least=0.5) == CacheFinding(missed=True)
    await cache.put(where, answer(), tenant=tenant)
    assert await cache.look_up(where, asker=asker, least=0.5) == CacheFinding(missed=True)
    for _ in range(2):
        near = await cache.look_up(await slot(scope, "one two three"), asker=other, least=0.5)
        assert (len(near.similar), near.missed) == (1, False)


async def test_similar_answers_come_most_similar_first(cache: AnswerCache, scope: str, tenant: str) -> None:
    """With the cosine, not with the store's own score of it."""
    for text in ("red green blue white", "red green blue", "black"):
        await cache.put(await slot(scope, text), answer(text), tenant=tenant)
    asked = await slot(scope, "red green blue white")
    found = await similar(cache, asked)
    assert [each.answer.text for each in found] == ["red green blue white", "red green blue", "black"]
    assert found[0].static_cosine == pytest.approx(1.0, abs=0.02)
    vectors = await WordEmbedder().embed(["red green blue white", "red green blue"])
    assert found[1].static_cosine == pytest.approx(float(np.dot(*vectors)), abs=0.02)


async def test_entries_below_the_least_cosine_are_not_read(
    cache: AnswerCache, scope: str, tenant: str
) -> None:
    """The bound is a cosine, as the result is."""
    for text in ("red green blue", "black"):
        await cache.put(await slot(scope, text), answer(text), tenant=tenant)
    asked = await slot(scope, "red green blue white")
    nearest, other = await similar(cache, asked)
    between = (nearest.static_cosine + other.static_cosine) / 2
    assert await similar(cache, asked, between) == [nearest]


async def test_an_embedding_is_kept_with_its_entry(
    cache: AnswerCache, redis: Redis, scope: str, tenant: str
) -> None:
    """From the slot, or later by the entry's name. A new answer keeps it; the end of the entry does not."""
    where = await slot(scope, "q")
    await cache.put(msgspec.structs.replace(where, vector=b"\x00\xff"), answer("q"), tenant=tenant)
    (found,) = await similar(cache, where)
    assert found.vector == b"\x00\xff"
    await cache.keep_vectors(scope, {found.name: b"\x01", "unknown": b"\x02"})
    await cache.put(where, answer("q", "new"), tenant=tenant)
    (found,) = await similar(cache, where)
    assert (found.vector, found.answer.content) == (b"\x01", "new")
    await redis.delete(f"headrace:cache:answer:{scope}:q")
    assert await similar(cache, where) == []
    await cache.put(where, answer("q"), tenant=tenant)
    assert [each.vector for each in await similar(cache, where)] == [None]


async def test_another_scope_has_no_similar_answers(cache: AnswerCache, scope: str, tenant: str) -> None:
    """It is another vector set: what must not be mixed cannot be."""
    await cache.put(await slot(scope, "one two"), answer(), tenant=tenant)
    assert await similar(cache, await slot(uuid4().hex, "one two")) == []


async def test_without_a_vector_there_is_only_the_exact_match(
    cache: AnswerCache, scope: str, tenant: str
) -> None:
    """Neither found by similarity nor asked for."""
    bare = await slot(scope, "one two", vector=False)
    await cache.put(bare, answer(), tenant=tenant)
    assert await exact(cache, bare) == answer()
    assert await similar(cache, bare) == []
    assert await similar(cache, await slot(scope, "one two")) == []


async def test_a_later_answer_replaces_the_earlier(cache: AnswerCache, scope: str, tenant: str) -> None:
    """It takes no second place."""
    for content in ("old", "new"):
        await cache.put(await slot(scope, "q"), answer(content=content), tenant=tenant)
    found = await exact(cache, await slot(scope, "q"))
    assert found is not None
    assert found.content == "new"
    assert await entries(cache, tenant) == 1
    assert len(await similar(cache, await slot(scope, "q"))) == 1


async def test_everything_expires(cache: AnswerCache, redis: Redis, scope: str, tenant: str) -> None:
    """Answers and vectors alike; what expired is not counted."""
    await cache.put(await slot(scope, "q"), answer(), tenant=tenant)
    for key in (f"headrace:cache:answer:{scope}:q", f"headrace:cache:vectors:{scope}"):
        assert 3500 < await redis.ttl(key) <= 3600


async def test_an_expired_answer_is_neither_found_nor_counted(
    cache: AnswerCache, redis: Redis, clock: Clock, scope: str, tenant: str
) -> None:
    """Its vector, which may outlive it, is forgotten when it is met."""
    await cache.put(await slot(scope, "old"), answer("old"), tenant=tenant)
    clock.now += 3601
    await cache.put(await slot(scope, "new"), answer("new"), tenant=tenant)
    await redis.delete(f"headrace:cache:answer:{scope}:old")
    assert await entries(cache, tenant) == 1
    assert await exact(cache, await slot(scope, "old")) is None
    found = await similar(cache, await slot(scope, "old"))
    assert [each.answer.text for each in found] == ["new"]
    assert await redis.execute_command("VCARD", f"headrace:cache:vectors:{scope}") == 1  # type: ignore[no-untyped-call]


async def test_a_forgotten_vector_does_not_hide_the_others(redis: Redis, scope: str, tenant: str) -> None:
    """The nearest entries are gone: the next search finds who is behind them."""
    cache = AnswerCache(redis, ttl_s=3600, max_entries=20)
    texts = [" ".join("abcdefghij"[:length]) for length in range(10, 0, -1)]
    for text in texts:
        await cache.put(await slot(scope, text), answer(text), tenant=tenant)
    asked = await slot(scope, texts[0])
    nearest = await similar(cache, asked)
    assert len(nearest) < len(texts)
    for each in nearest:
        await redis.delete(f"headrace:cache:answer:{scope}:{each.name}")
    assert await similar(cache, asked) == []
    behind = set(texts) - {each.answer.text for each in nearest}
    assert {each.answer.text for each in await similar(cache, asked)} == behind


async def test_a_tenant_keeps_its_newest_answers(
    cache: AnswerCache, clock: Clock, redis: Redis, scope: str, tenant: str
) -> None:
    """Over all its scopes together; the oldest leave with their vectors, and other tenants keep theirs."""
    other = uuid4().hex
    await cache.put(await slot(scope + "o", "q"), answer(), tenant=other)
    for number in range(9):
        clock.now += 1
        where = f"{scope}{number % 2}"
        await cache.put(await slot(where, f"q{number}"), answer(f"q{number}"), tenant=tenant)
    assert await entries(cache, tenant) == 5
    kept = [
        number for number in range(9) if await exact(cache, await slot(f"{scope}{number % 2}", f"q{number}"))
    ]
    assert kept == [4, 5, 6, 7, 8]
    vectors = [await redis.execute_command("VCARD", f"headrace:cache:vectors:{scope}{n}") for n in (0, 1)]  # type: ignore[no-untyped-call]
    assert vectors == [3, 2]
    assert await entries(cache, other) == 1


async def test_many_writers_at_once_keep_the_bound(cache: AnswerCache, scope: str, tenant: str) -> None:
    """No writer takes out what another has made room for already."""
    slots = [await slot(scope, f"q{number}") for number in range(60)]
    await asyncio.gather(*(cache.put(each, answer(each.text), tenant=tenant) for each in slots))
    assert await entries(cache, tenant) == 5
    kept = [each for each in slots if await exact(cache, each)]
    assert len(kept) == 5


async def test_what_another_version_wrote_is_a_miss(
    cache: AnswerCache, redis: Redis, scope: str, tenant: str
) -> None:
    """An upgrade must not fail the requests that meet old entries."""
    await cache.put(await slot(scope, "q"), answer("q"), tenant=tenant)
    await redis.set(f"headrace:cache:answer:{scope}:q", b'{"request_id": 7}')
    assert await exact(cache, await slot(scope, "q")) is None
    assert await similar(cache, await slot(scope, "q")) == []


async def test_without_redis_every_call_says_so(scope: str) -> None:
    """Callers treat it as a miss."""
    client = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    away = AnswerCache(client, ttl_s=60, max_entries=5)
    where = await slot(scope, "q")
    for call in (
        away.look_up(where, asker="r-1:0", least=0),
        away.note_miss("r-1:0"),
        away.keep_vectors(scope, {"q": b"1"}),
        away.put(where, answer(), tenant="t"),
    ):
        with pytest.raises(StoreUnavailable, match=r"Redis: .* the cache failed"):
            await call
    await client.aclose()

"""A user's requests in Redis: what goes, and what has to stay."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest
from redis.asyncio import Redis

from agents.stores.answer_cache import AnswerCache, CachedAnswer, CacheFinding
from agents.stores.journal import journal_key
from agents.webhooks.queue import Added, Lane, WebhookQueue, entry_key
from headrace.ops.privacy.redis_eraser import RedisEraser
from streams.codec import encode
from streams.events import CacheSlot, Embeddings, ErrorInfo, Reply, ReplyAddress, Status, WebhookDue
from streams.registry.registry import RequestRegistry, SubmissionState, request_key
from streams.webhooks.signing import webhook_id
from tests.fakes.cached_answers import entries
from tests.fakes.records import read_record

pytestmark = pytest.mark.integration

VECTOR = b"\x00\x00\x80\x3f" * 4
TO = ReplyAddress(topic="llm.replies.v1")


def reply_to(request_id: str, **fields: Any) -> Reply:
    given: dict[str, Any] = {
        "status": Status.ANSWERED,
        "content": "Ann lives in Ghent",
        "cost_usd": Decimal("0.0103"),
    }
    return Reply(request_id=request_id, **(given | fields))


async def settled(redis: Redis, tenant: str, reply: Reply | None = None) -> str:
    """Store a reply as the pipeline does, and return the request's id."""
    reply = reply or reply_to(uuid4().hex)
    registry = await pending(redis, tenant, reply.request_id)
    await registry.begin_settle(reply, tenant=tenant)
    await registry.finish_settle(reply.request_id, replay=reply.replay)
    return reply.request_id


async def pending(redis: Redis, tenant: str, request_id: str) -> RequestRegistry:
    registry = RequestRegistry(redis, ttl_s=600)
    await registry.register(request_id, tenant=tenant, body="print", origin="o-1", running=True, reply_to=TO)
    return registry


async def cached(redis: Redis, tenant: str, request_id: str) -> CacheSlot:
    slot = CacheSlot(
        scope=uuid4().hex, exact_key=uuid4().hex, text="Where does Ann live?", static_vector=VECTOR
    )
    answer = CachedAnswer(
        request_id=request_id,
        text=slot.text,
        content="In Ghent",
        model="gpt-4o",
        provider=None,
        finish_reason="stop",
        cached_at=datetime.now(UTC),
    )
    await AnswerCache(redis, ttl_s=600, max_entries=100).put(slot, answer, tenant=tenant)
    return slot


async def waiting(redis: Redis, tenant: str, request_id: str, replay: int = 0) -> WebhookQueue:
    due = WebhookDue(
        request_id=request_id, tenant=tenant, url="https://a.example/", reply=reply_to(request_id)
    )
    record = read_record(
        topic="llm.webhooks.v1",
        partition=0,
        offset=1,
        timestamp_ms=1,
        key=b"k",
        value=encode(due),
        headers=(),
    )
    queue = WebhookQueue(redis, max_bytes=10_000_000)
    assert (
        await queue.add(webhook_id(request_id, replay), lane=Lane.of(tenant, "a.example"), record=record)
        is Added.ADDED
    )
    return queue


class Counts(NamedTuple):
    """How much there is."""

    replies: int = 0
    cached_answers: int = 0
    webhooks: int = 0
    running: int = 0


async def look(eraser: RedisEraser, tenant: str, ids: Sequence[str]) -> Counts:
    found = await eraser.find(tenant, ids)
    return Counts(*found.counts.values(), found.running)


async def erase(eraser: RedisEraser, tenant: str, ids: Sequence[str]) -> None:
    await eraser.erase(tenant, await eraser.find(tenant, ids))


async def test_a_finished_request_stays_known_without_its_texts(redis: Redis, tenant: str) -> None:
    """A repeat still gets the reply that was charged, and no second call; nobody can read what it said."""
    request_id = await settled(redis, tenant)
    eraser = RedisEraser(redis)
    assert await look(eraser, tenant, [request_id]) == Counts(replies=1)
    ttl = await redis.ttl(request_key(request_id))
    await erase(eraser, tenant, [request_id])
    assert await look(eraser, tenant, [request_id]) == Counts()
    everything = await redis.hgetall(request_key(request_id))
    assert "Ghent" not in repr(everything)
    assert b"fingerprint" not in everything
    assert 0 < await redis.ttl(request_key(request_id)) <= ttl
    registry = RequestRegistry(redis, ttl_s=600)
    again = await registry.register(
        request_id, tenant=tenant, body="print", origin="o-2", running=True, reply_to=TO
    )
    assert again.state is SubmissionState.SETTLED
    assert again.reply is not None
    assert (again.reply.status, again.reply.content) == (Status.ANSWERED, "")
    assert again.reply.cost_usd == Decimal("0.0103")
    assert again.reply.error is not None
    assert again.reply.error.code == "erased"


async def test_an_error_keeps_its_code(redis: Redis, tenant: str) -> None:
    """Its words may quote the user."""
    error = ErrorInfo(type="api_error", code="no_such_model", message="there is no model 'ann'")
    request_id = await settled(redis, tenant, reply_to(uuid4().hex, status=Status.FAILED, error=error))
    await erase(RedisEraser(redis), tenant, [request_id])
    state = await RequestRegistry(redis, ttl_s=600).find(request_id)
    assert state is not None
    assert state.reply is not None
    assert state.reply.error is not None
    assert (state.reply.error.code, "ann" in state.reply.error.message) == ("no_such_model", False)


async def test_what_is_under_way_is_left_alone(redis: Redis, tenant: str) -> None:
    """Its sender waits; it is counted, and goes when it has ended."""
    request_id = uuid4().hex
    registry = await pending(redis, tenant, request_id)
    eraser = RedisEraser(redis)
    before = await redis.hgetall(request_key(request_id))
    await erase(eraser, tenant, [request_id])
    assert await redis.hgetall(request_key(request_id)) == before
    assert await look(eraser, tenant, [request_id]) == Counts(running=1)
    await registry.begin_settle(reply_to(request_id), tenant=tenant)
    assert (await look(eraser, tenant, [request_id])).running == 1
    await registry.finish_settle(request_id)
    assert await look(eraser, tenant, [request_id]) == Counts(replies=1)


async def test_a_result_that_nobody_fetched_goes_too(redis: Redis, tenant: str) -> None:
    """The request is settled: the journal has nothing to send any more."""
    request_id = await settled(redis, tenant)
    journal = journal_key(request_id)
    await redis.hset(journal, mapping={"record": "r", "attempt": "1", "result": "Ghent"})
    await erase(RedisEraser(redis), tenant, [request_id])
    assert await redis.hgetall(journal) == {b"record": b"r", b"attempt": b"1", b"sent": b"1"}


async def test_the_vectors_of_the_user_s_texts_go_too(redis: Redis, tenant: str) -> None:
    """They are kept beside the reply."""
    vectors = Embeddings(count=1, dimensions=2, vectors=b"12345678")
    request_id = await settled(redis, tenant, reply_to(uuid4().hex, content="", embeddings=vectors))
    eraser = RedisEraser(redis)
    assert await look(eraser, tenant, [request_id]) == Counts(replies=1)
    await erase(eraser, tenant, [request_id])
    state = await RequestRegistry(redis, ttl_s=600).find(request_id)
    assert state is not None
    assert state.reply is not None
    assert state.reply.embeddings == Embeddings(count=1, dimensions=2)
    assert await look(eraser, tenant, [request_id]) == Counts()


async def test_cached_answers_to_the_user_s_questions_go(redis: Redis, tenant: str) -> None:
    """With their vectors; those to others' questions stay."""
    ann, bob = uuid4().hex, uuid4().hex
    hers, his = await cached(redis, tenant, ann), await cached(redis, tenant, bob)
    eraser = RedisEraser(redis)
    assert await look(eraser, tenant, [ann]) == Counts(cached_answers=1)
    await erase(eraser, tenant, [ann])
    assert await look(eraser, tenant, [ann]) == Counts()
    cache = AnswerCache(redis, ttl_s=600, max_entries=100)
    assert await cache.look_up(hers, asker="x", least=-1) == CacheFinding(missed=True)
    assert await redis.exists(f"headrace:cache:vectors:{hers.scope}") == 0
    assert (await cache.look_up(his, asker="y", least=-1)).exact is not None
    other = msgspec.structs.replace(his, exact_key="another")
    assert len((await cache.look_up(other, asker="y", least=-1)).similar) == 1
    assert await entries(cache, tenant) == 1


async def test_the_vector_of_an_answer_that_has_expired_goes(redis: Redis, tenant: str) -> None:
    """Nobody can tell whose it was: it may have been the user's."""
    slot = await cached(redis, tenant, uuid4().hex)
    await redis.delete(f"headrace:cache:answer:{slot.scope}:{slot.exact_key}")
    await erase(RedisEraser(redis), tenant, [])
    assert await redis.exists(f"headrace:cache:vectors:{slot.scope}") == 0


async def test_webhooks_that_wait_are_not_sent(redis: Redis, tenant: str) -> None:
    """One for each run of the request; what waits for others stays, and the queue's books are right."""
    request_id, other = uuid4().hex, uuid4().hex
    await settled(redis, tenant, reply_to(request_id, replay=1))
    for replay in (0, 1):
        await waiting(redis, tenant, request_id, replay)
    queue = await waiting(redis, tenant, other)
    held = int(await redis.hget("headrace:webhooks:bytes", "a.example") or 0)
    eraser = RedisEraser(redis)
    assert (await look(eraser, tenant, [request_id])).webhooks == 2
    await erase(eraser, tenant, [request_id])
    assert await look(eraser, tenant, [request_id]) == Counts()
    assert int(await redis.hget("headrace:webhooks:bytes", "a.example") or 0) < held
    claimed = [found.webhook_id async for found in _claimed(queue)]
    assert webhook_id(other, 0) in claimed
    assert not {webhook_id(request_id, 0), webhook_id(request_id, 1)} & set(claimed)


async def _claimed(queue: WebhookQueue) -> Any:
    while (found := await queue.claim(lend_s=60)) is not None:
        yield found
        await queue.end(found)


async def test_another_tenant_s_request_of_the_same_id_is_left_alone(redis: Redis, tenant: str) -> None:
    """Ids are the senders' choice."""
    request_id = await settled(redis, "someone else")
    eraser = RedisEraser(redis)
    before = await redis.hgetall(request_key(request_id))
    assert await look(eraser, tenant, [request_id]) == Counts()
    await erase(eraser, tenant, [request_id])
    assert await redis.hgetall(request_key(request_id)) == before


async def test_another_tenant_s_webhook_is_still_sent(redis: Redis, tenant: str) -> None:
    """Also where its request has the id of one of the user's requests."""
    request_id = await settled(redis, "someone else")
    await waiting(redis, "someone else", request_id)
    await erase(RedisEraser(redis), tenant, [request_id])
    assert await redis.exists(entry_key(webhook_id(request_id, 0)))


async def test_more_requests_than_one_pipeline_takes(redis: Redis, tenant: str) -> None:
    """Unknown ones among them."""
    ids = [await settled(redis, tenant) for _ in range(30)]
    strangers = [uuid4().hex for _ in range(1_200)]
    eraser = RedisEraser(redis)
    assert (await look(eraser, tenant, [*strangers, *ids])).replies == 30
    await erase(eraser, tenant, [*strangers, *ids])
    assert await look(eraser, tenant, ids) == Counts()
    assert await look(eraser, tenant, strangers) == Counts()

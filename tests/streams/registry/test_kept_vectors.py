"""The vectors of replies, beside the registry."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.errors import SpendPending
from streams.events import Embeddings, EmbeddingsRequested, ErrorInfo, Reply, ReplyAddress, Status
from streams.redis import connection
from streams.registry.entries import vectors_key
from streams.registry.registry import RequestRegistry, SubmissionState, fingerprint, request_key

pytestmark = pytest.mark.integration

HERE = ReplyAddress(topic="llm.replies.v1", partition=0)
VECTORS = Embeddings(count=2, dimensions=3, vectors=bytes(range(24)))
BARE = Embeddings(count=2, dimensions=3)
ASKED = EmbeddingsRequested(user_id="u", inputs=("a", "b"), model="text-embedding-3-small")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def registry(redis: Redis) -> RequestRegistry:
    return RequestRegistry(redis, ttl_s=3_600, vectors_ttl_s=60)


@pytest.fixture
def reply() -> Reply:
    return Reply(request_id=uuid.uuid4().hex, status=Status.ANSWERED, embeddings=VECTORS)


async def submit(registry: RequestRegistry, reply: Reply, *, origin: str = "first") -> Any:
    return await registry.register(
        reply.request_id,
        tenant="acme",
        body=fingerprint(ASKED, "acme"),
        origin=origin,
        running=True,
        reply_to=HERE,
    )


async def settled(registry: RequestRegistry, reply: Reply) -> Reply:
    """Register and settle a request, and return the reply that goes to its sender."""
    await submit(registry, reply)
    settlement = await registry.begin_settle(reply, tenant="acme")
    await registry.finish_settle(reply.request_id)
    return settlement.reply


async def test_a_repeat_and_a_fetch_get_the_vectors(registry: RequestRegistry, reply: Reply) -> None:
    """Whoever asks the registry for the reply finds it whole, and so does the first sender."""
    assert await settled(registry, reply) == reply
    again = await submit(registry, reply, origin="second")
    assert (again.state, again.reply) == (SubmissionState.SETTLED, reply)
    found = await registry.find(reply.request_id)
    assert found is not None
    assert found.reply == reply


async def test_the_registry_itself_stays_small(registry: RequestRegistry, redis: Redis, reply: Reply) -> None:
    """The vectors are beside it, as bytes, and not for as long."""
    await settled(registry, reply)
    entry = await redis.hget(request_key(reply.request_id), "reply")
    assert msgspec.json.decode(entry or b"", type=Reply).embeddings == BARE
    key = vectors_key(reply.request_id)
    assert await redis.get(key) == VECTORS.vectors
    assert 0 < await redis.ttl(key) <= 60
    assert await redis.ttl(request_key(reply.request_id)) > 60


async def test_without_its_vectors_a_reply_is_known_all_the_same(
    registry: RequestRegistry,
    redis: Redis,
    reply: Reply,
) -> None:
    """A repeat after they have expired is still a repeat, and no second charge."""
    await settled(registry, reply)
    await redis.delete(vectors_key(reply.request_id))
    again = await submit(registry, reply, origin="second")
    assert again.state is SubmissionState.SETTLED
    assert again.reply == msgspec.structs.replace(reply, embeddings=BARE)


async def test_what_does_not_fit_is_not_given(registry: RequestRegistry, redis: Redis, reply: Reply) -> None:
    """Bytes of another length are not the vectors of this reply."""
    await settled(registry, reply)
    await redis.set(vectors_key(reply.request_id), b"1234")
    found = await registry.find(reply.request_id)
    assert found is not None
    assert found.reply is not None
    assert found.reply.embeddings == BARE


async def test_the_reply_that_was_stored_first_counts(registry: RequestRegistry, reply: Reply) -> None:
    """A failure that comes after an outcome with vectors changes nothing; the other way round neither."""
    await submit(registry, reply)
    await registry.begin_settle(reply, tenant="acme")
    failed = Reply(
        request_id=reply.request_id,
        status=Status.FAILED,
        error=ErrorInfo(type="api_error", code="internal_error", message="no"),
    )
    assert (await registry.begin_settle(failed, tenant="acme")).reply == reply

    other = msgspec.structs.replace(failed, request_id=uuid.uuid4().hex)
    await submit(registry, other)
    await registry.begin_settle(other, tenant="acme")
    late = msgspec.structs.replace(reply, request_id=other.request_id)
    assert (await registry.begin_settle(late, tenant="acme")).reply == other


async def test_a_redelivered_outcome_stores_nothing_again(
    registry: RequestRegistry, redis: Redis, reply: Reply
) -> None:
    """What was erased stays erased, and what is kept is not kept for longer."""
    await settled(registry, reply)
    key = vectors_key(reply.request_id)
    await redis.expire(key, 5)
    await registry.begin_settle(reply, tenant="acme")
    assert 0 < await redis.ttl(key) <= 5
    await redis.delete(key)
    settlement = await registry.begin_settle(reply, tenant="acme")
    assert (settlement.done, settlement.reply) == (True, reply)
    assert not await redis.exists(key)


async def test_the_outcome_of_an_older_run_does_not_replace_the_vectors(
    registry: RequestRegistry, redis: Redis, reply: Reply
) -> None:
    """A replay has made others; the first run's outcome is delivered again."""
    await settled(registry, reply)
    others = msgspec.structs.replace(VECTORS, vectors=bytes(reversed(range(24))))
    newer = msgspec.structs.replace(reply, embeddings=others, replay=1)
    assert (await registry.begin_settle(newer, tenant="acme")).reply == newer
    assert (await registry.begin_settle(reply, tenant="acme")).done
    assert await redis.get(vectors_key(reply.request_id)) == others.vectors
    found = await registry.find(reply.request_id)
    assert found is not None
    assert found.reply == newer


async def test_an_outcome_that_must_wait_stores_nothing(
    registry: RequestRegistry, redis: Redis, reply: Reply
) -> None:
    """Only the outcome that settles the request brings its vectors."""
    await submit(registry, reply)
    await redis.hset(request_key(reply.request_id), "spent", "0")
    with pytest.raises(SpendPending):
        await registry.begin_settle(reply, tenant="acme", knows_spend=False)
    assert not await redis.exists(vectors_key(reply.request_id))


async def test_a_reply_without_vectors_keeps_none(redis: Redis, registry: RequestRegistry) -> None:
    """Nor an empty key, which every chat request would leave behind."""
    reply = Reply(request_id=uuid.uuid4().hex, status=Status.ANSWERED, content="Paris")
    assert await settled(registry, reply) == reply
    assert not await redis.exists(vectors_key(reply.request_id))


async def test_while_memory_is_low_vectors_are_not_kept(redis: Redis, reply: Reply) -> None:
    """The sender gets them; a repeat is recognised, not charged, and gets the reply without."""
    registry = RequestRegistry(redis, ttl_s=3_600, keeps_vectors=lambda: False)
    assert await settled(registry, reply) == reply
    assert not await redis.exists(vectors_key(reply.request_id))
    again = await submit(registry, reply, origin="second")
    assert (again.state, again.reply) == (
        SubmissionState.SETTLED,
        msgspec.structs.replace(reply, embeddings=BARE),
    )

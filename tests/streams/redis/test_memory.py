"""How full Redis is, on a real Redis that the test fills."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from streams.errors import ConfigurationError, StoreFull, StoreUnavailable
from streams.events import Reply, ReplyAddress, Status
from streams.redis import connection
from streams.redis.memory import MemoryState, MemoryWatch, memory_of
from streams.registry.registry import RequestRegistry, SubmissionState, request_key

pytestmark = pytest.mark.integration

_HELD_BYTES = 32 * 1024 * 1024


@pytest.fixture
async def redis(own_redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(own_redis_url, timeout_s=10)
    await client.setrange("others", _HELD_BYTES, "x")  # without a buffer of that size for the client
    yield client
    await client.aclose()


@pytest.fixture
def watch(redis: Redis) -> MemoryWatch:
    return MemoryWatch(redis)


@pytest.fixture
def registry(redis: Redis, watch: MemoryWatch) -> RequestRegistry:
    return RequestRegistry(redis, ttl_s=3600, has_room=watch.has_room)


async def fill(redis: Redis, watch: MemoryWatch, share: float) -> None:
    """Make what Redis holds so much of what it may."""
    used = (await watch.look()).used_bytes
    await redis.config_set("maxmemory", int(used / share))
    await watch.look()


async def register(registry: RequestRegistry, request_id: str, **fields: Any) -> SubmissionState:
    given: dict[str, Any] = {
        "tenant": "acme",
        "body": "b",
        "origin": "a",
        "running": True,
        "reply_to": ReplyAddress(topic="llm.replies.v1", correlation_id=b"c"),
    }
    return (await registry.register(request_id, **(given | fields))).state


def reply(request_id: str) -> Reply:
    return Reply(request_id=request_id, status=Status.ANSWERED, content="Paris")


@pytest.mark.parametrize(
    ("used", "limit", "state"),
    [
        (79, 100, MemoryState.OK),
        (80, 100, MemoryState.LOW),
        (89, 100, MemoryState.LOW),
        (90, 100, MemoryState.FULL),
        (120, 100, MemoryState.FULL),
        (120, 0, MemoryState.UNLIMITED),
    ],
)
def test_states(used: int, limit: int, state: MemoryState) -> None:
    """Low from 80 %, full from 90 %; without a limit nobody can say."""
    assert memory_of({"used_memory": used, "maxmemory": limit}).state is state


def test_what_does_not_count_towards_the_limit_is_left_out() -> None:
    """As Redis does: the buffers of replicas and of the append-only file."""
    seen = memory_of({"used_memory": 95, "mem_not_counted_for_evict": 30, "maxmemory": 100})
    assert (seen.used_bytes, seen.state) == (65, MemoryState.OK)


@pytest.mark.parametrize(
    ("info", "note"),
    [
        ({"maxmemory": 0, "maxmemory_policy": "noeviction"}, "set its maxmemory"),
        ({"maxmemory": 9, "maxmemory_policy": "allkeys-lru"}, "evicts (allkeys-lru)"),
        ({"maxmemory": 9, "maxmemory_policy": "noeviction"}, None),
    ],
)
def test_the_operator_is_told_what_to_change(info: dict[str, Any], note: str | None) -> None:
    """A Redis without a limit, or one that would evict the journal."""
    told = memory_of({"used_memory": 1} | info).note
    assert told is None if note is None else note in (told or "")


async def test_a_redis_that_fills_is_noticed_and_one_that_is_emptied_too(
    redis: Redis, watch: MemoryWatch
) -> None:
    """The cache stops first, then new requests; both go on by themselves."""
    assert (watch.has_room(), watch.has_room_to_spare()) == (True, True)
    for share, state, room, cache_room in (
        (0.85, MemoryState.LOW, True, False),
        (0.95, MemoryState.FULL, False, False),
        (0.5, MemoryState.OK, True, True),
    ):
        await fill(redis, watch, share)
        assert watch.latest is not None
        assert watch.latest.state is state
        assert (watch.has_room(), watch.has_room_to_spare()) == (room, cache_room)


async def test_while_redis_is_nearly_full_what_is_under_way_ends(
    redis: Redis, watch: MemoryWatch, registry: RequestRegistry
) -> None:
    """What is new is refused without a trace; what is known is begun, settled, and told to who asks again."""
    running, pending, new = (uuid4().hex for _ in range(3))
    await register(registry, running)
    await register(registry, pending, running=False)
    await fill(redis, watch, 0.95)
    with pytest.raises(StoreFull):
        await register(registry, new)
    assert not await redis.exists(request_key(new))
    joining = await register(registry, running, origin="b", reply_to=ReplyAddress(topic="b"))
    assert joining is SubmissionState.CROWDED
    assert await register(registry, pending) is SubmissionState.SAME
    settlement = await registry.begin_settle(reply(running), tenant="acme")
    assert await registry.finish_settle(running)
    assert not settlement.done
    assert await register(registry, running, origin="b") is SubmissionState.SETTLED


async def test_a_redis_that_is_full_takes_nothing_and_loses_nothing(
    redis: Redis, watch: MemoryWatch, registry: RequestRegistry
) -> None:
    """Each step fails as a whole, as an outage does, and succeeds once there is room."""
    running = uuid4().hex
    await register(registry, running)
    before = await redis.hgetall(request_key(running))
    await redis.config_set("maxmemory", 1)
    with pytest.raises(StoreFull, match="raise its maxmemory"):
        await register(RequestRegistry(redis, ttl_s=60), uuid4().hex)
    with pytest.raises(StoreFull):
        await registry.begin_settle(reply(running), tenant="acme")
    assert await redis.hgetall(request_key(running)) == before
    assert (await watch.look()).state is MemoryState.FULL
    await redis.config_set("maxmemory", 2 * _HELD_BYTES)
    assert not (await registry.begin_settle(reply(running), tenant="acme")).done
    assert await registry.finish_settle(running)


async def test_a_wrong_password_ends_a_process_that_starts(own_redis_url: str) -> None:
    """It names the setting; nobody has to read a traceback."""
    client = connection.connect(own_redis_url.replace("redis://", "redis://nobody:wrong@"))
    with pytest.raises(ConfigurationError, match="HEADRACE_REDIS_URL"):
        async with MemoryWatch(client):
            pass
    await client.aclose()


async def test_a_redis_that_is_away_is_waited_for() -> None:
    """A process that starts before Redis does is no error; who needs it waits."""
    client = connection.connect("redis://127.0.0.1:1/0")
    async with MemoryWatch(client) as watch:
        assert watch.has_room()
        with pytest.raises(StoreUnavailable):
            await watch.look()
    await client.aclose()


async def test_a_replica_is_no_place_to_write(redis: Redis, watch: MemoryWatch) -> None:
    """It answers every question, and takes no write: it counts as away, and the message says why."""
    await redis.execute_command("ACL", "SETUSER", "default", "+replicaof")  # type: ignore[no-untyped-call]
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    with pytest.raises(StoreUnavailable, match="primary"):
        await watch.look()
    with pytest.raises(StoreUnavailable, match="primary"), connection.store_faults("writing"):
        await redis.set("a", "b")


async def test_room_is_made_while_memory_is_low(redis: Redis, watch: MemoryWatch) -> None:
    """By whoever said that they can; again and again until it is no longer low."""
    quick = MemoryWatch(redis, every_s=0.01)
    called = asyncio.Event()

    async def make_room() -> None:
        called.set()
        await redis.delete("others")

    quick.make_room = make_room
    await fill(redis, watch, 0.85)
    async with quick:
        async with asyncio.timeout(10):
            await called.wait()
            while not quick.has_room_to_spare():
                await asyncio.sleep(0.01)

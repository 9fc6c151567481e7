"""Commands that wait together leave together, and each caller gets its own reply: on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.exceptions import RedisError, ResponseError

from streams.redis.connection import connect
from streams.redis.pipelining import PipeliningRedis

pytestmark = pytest.mark.integration


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[PipeliningRedis]:
    """A client as our processes use it."""
    redis = connect(redis_url, timeout_s=30)
    yield redis
    await redis.aclose()


@pytest.fixture
def name() -> str:
    """A key of the test's own."""
    return f"test:{uuid4().hex}"


async def test_commands_of_one_turn_make_one_round_trip(client: PipeliningRedis, name: str) -> None:
    """Forty callers at once: one pipeline, and each has the reply to its own command."""
    keys = [f"{name}:{number}" for number in range(40)]
    await asyncio.gather(*(client.set(key, key) for key in keys))
    assert client.round_trips == 1
    assert await asyncio.gather(*(client.get(key) for key in keys)) == [key.encode() for key in keys]
    assert client.round_trips == 2


async def test_what_comes_meanwhile_leaves_with_the_next_one(client: PipeliningRedis, name: str) -> None:
    """A hundred commands in steps of one turn each take far fewer round trips; their order is kept."""

    async def late(number: int) -> int:
        for _ in range(number):
            await asyncio.sleep(0)
        return int(await client.rpush(name, number))

    lengths = await asyncio.gather(*(late(number) for number in range(100)))
    assert lengths == list(range(1, 101))
    assert [int(each) for each in await client.lrange(name, 0, -1)] == list(range(100))
    assert client.round_trips < 60


async def test_an_error_is_its_own_callers(client: PipeliningRedis, name: str) -> None:
    """A command that Redis refuses does not harm its neighbours, and scripts are loaded where they miss."""
    await client.set(name, "text")
    script = client.register_script("return redis.call('GET', KEYS[1])")
    await client.script_flush()
    read, refused, run = await asyncio.gather(
        client.get(name), client.rpush(name, 1), script(keys=[name]), return_exceptions=True
    )
    assert (read, run) == (b"text", b"text")
    assert isinstance(refused, ResponseError)


async def test_more_than_one_pipeline_holds(client: PipeliningRedis, name: str) -> None:
    """A thousand commands of one turn go in pipelines of bounded size."""
    assert sum(await asyncio.gather(*(client.incr(name) for _ in range(1_000)))) == 500_500
    assert client.round_trips == 16


async def test_a_cancelled_caller_does_not_hold_up_others(client: PipeliningRedis, name: str) -> None:
    """Its command may still be carried out, as after any lost reply."""
    calls = [asyncio.ensure_future(client.rpush(name, number)) for number in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(second, asyncio.CancelledError)
    assert (first, third) == (1, 3)


async def test_after_a_timeout_those_that_waited_fail_too(redis_url: str, name: str) -> None:
    """Nobody waits for a silent Redis longer than one time-out; afterwards all is as before."""
    other = connect(redis_url, timeout_s=30)
    client = connect(redis_url, timeout_s=2.5)
    await client.ping()
    before = client.round_trips
    await other.client_pause(6_000)
    first = asyncio.ensure_future(client.set(name, "first"))
    await asyncio.sleep(0.5)
    behind = [asyncio.ensure_future(client.set(name, "behind")) for _ in range(5)]
    ended = await asyncio.gather(first, *behind, return_exceptions=True)
    assert all(isinstance(each, RedisError | TimeoutError) for each in ended)
    assert client.round_trips == before + 1
    await other.ping()  # answered when the pause is over
    assert await client.set(name, "again")
    await client.aclose()
    await other.aclose()

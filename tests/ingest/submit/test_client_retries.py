"""The retries of SDKs are recognised, on a real Redis."""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from ingest.submit.identification import CallState, ClientRetries, SdkCall
from streams.redis import connection
from streams.serving.responses import ApiError, unavailable

pytestmark = pytest.mark.integration


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


class Sdk:
    """Attempts that ask the same."""

    def __init__(self, redis: Redis) -> None:
        self.retries = ClientRetries(redis, timeout_s=30)
        self.body = uuid4().hex

    async def attempt(self, retries: int = 0, *, tenant: str = "acme") -> SdkCall:
        return await self.retries.call_of(tenant=tenant, body=self.body, retries=retries, deadline_ms=60_000)

    async def end(self, call: SdkCall, state: CallState) -> None:
        call.state = state if state is CallState.LEFT else CallState.OPEN
        with suppress(ApiError), self.retries.attending(call):
            if state is CallState.REFUSED:
                raise unavailable("no model")
        await self.retries.close()
        assert call.state is state


@pytest.fixture
def sdk(redis: Redis) -> Sdk:
    return Sdk(redis)


@pytest.mark.parametrize("state", CallState)
async def test_a_retry_takes_up_its_call(sdk: Sdk, state: CallState) -> None:
    """However the attempt before it ended: its answer may have been lost, too."""
    call = await sdk.attempt()
    if state is not CallState.OPEN:
        await sdk.end(call, state)
    retry = await sdk.attempt(1)
    assert (retry.key, retry.is_retry, call.is_retry) == (call.key, True, False)
    assert (await sdk.attempt(2)).key == call.key


async def test_each_first_attempt_is_a_call_of_its_own(sdk: Sdk) -> None:
    """Who asks the same twice wants two answers; another tenant's or another body's are never mixed up."""
    first, second = await sdk.attempt(), await sdk.attempt()
    assert first.key != second.key
    assert not (await sdk.attempt(1, tenant="zeta")).is_retry
    sdk.body = uuid4().hex
    assert not (await sdk.attempt(1)).is_retry


async def test_of_several_the_likeliest_is_taken(sdk: Sdk) -> None:
    """Two clients leave: their retries take up both, not one twice, and not the one that was answered."""
    answered, refused, left, running, gone = [await sdk.attempt() for _ in range(5)]
    for call, state in (
        (answered, CallState.ANSWERED),
        (refused, CallState.REFUSED),
        (left, CallState.LEFT),
        (gone, CallState.LEFT),
    ):
        await sdk.end(call, state)
    assert {(await sdk.attempt(1)).key for _ in range(2)} == {left.key, gone.key}
    assert (await sdk.attempt(1)).key == refused.key
    assert (await sdk.attempt(1)).key == running.key


async def test_what_is_over_is_forgotten(redis: Redis) -> None:
    """A call expires with its deadline and the time that SDKs take to come back; so does the key."""
    sdk = Sdk(redis)
    call = await sdk.attempt()
    assert 0 < await redis.pttl(call.slot) <= 180_000
    await redis.hset(call.slot, call.key, "2:1:2")  # open, until 1970
    assert not (await sdk.attempt(1)).is_retry


async def test_a_slot_is_bounded(sdk: Sdk, redis: Redis) -> None:
    """Who asks the same without end costs no more than so many; the others count as calls of their own."""
    call = await sdk.attempt()
    now_ms = int(time.time() * 1000)
    await redis.hset(call.slot, mapping={f"k{n}": f"2:{now_ms}:{now_ms + 600_000}" for n in range(255)})
    more = await sdk.attempt()
    assert await redis.hlen(call.slot) == 256
    assert not await redis.hexists(call.slot, more.key)

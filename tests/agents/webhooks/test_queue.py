"""The queue of webhooks, in a real Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from agents.stage import Record
from agents.webhooks.queue import Added, ClaimedWebhook, Lane, WebhookQueue
from streams.errors import StoreFull, StoreUnavailable
from streams.redelivery import replayed
from streams.redis import connection
from tests.agents.webhooks.due import due_record
from tests.fakes.records import read_record

pytestmark = pytest.mark.integration


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client, and a database without webhooks."""
    client = connection.connect(redis_url, timeout_s=30)
    for key in await client.keys("headrace:webhooks:*"):
        await client.delete(key)
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> Clock:
    """The queue's clock."""
    return Clock()


@pytest.fixture
def queue(redis: Redis, clock: Clock) -> WebhookQueue:
    """An empty queue."""
    return WebhookQueue(redis, max_bytes=100_000, clock=clock)


def lane(host: str = "a.example", tenant: str = "acme") -> Lane:
    return Lane.of(tenant, host)


async def add(queue: WebhookQueue, webhook_id: str, host: str = "a.example", tenant: str = "acme") -> Added:
    return await queue.add(webhook_id, lane=lane(host, tenant), record=due_record())


async def claimed(queue: WebhookQueue, *busy: str) -> ClaimedWebhook:
    found = await queue.claim(lend_s=10, busy=busy)
    assert found is not None
    return found


def again(record: Record) -> Record:
    """The record as an operator replays it from its dead letter."""
    headers = replayed(record.headers, record=record.place, timestamp_ms=record.timestamp_ms, at_ms=1)
    fields = {name: getattr(record, name) for name in ("topic", "partition", "key", "value")}
    return read_record(**fields, offset=record.offset + 1, timestamp_ms=record.timestamp_ms, headers=headers)


async def test_what_is_added_is_claimed_as_it_came(queue: WebhookQueue) -> None:
    """Byte for byte: it may become a dead letter."""
    given = due_record(headers=(("x", b"\xff"), ("x", b"2")))
    assert await queue.add("m-1", lane=lane(), record=given) is Added.ADDED
    assert await claimed(queue) == ClaimedWebhook(webhook_id="m-1", lane=lane(), attempt=1, record=given)


async def test_the_same_once(queue: WebhookQueue) -> None:
    """While it waits, and after it has ended: its record may be delivered again."""
    await add(queue, "m-1")
    assert await add(queue, "m-1") is Added.WAITING
    await queue.end(await claimed(queue))
    assert await add(queue, "m-1") is Added.ENDED
    assert await queue.claim(lend_s=10) is None


async def test_an_operators_replay_is_sent_again(queue: WebhookQueue) -> None:
    """Once for each replay, with a count of tries of its own."""
    await add(queue, "m-1")
    await queue.end(await claimed(queue))
    assert await queue.add("m-1", lane=lane(), record=again(due_record())) is Added.ADDED
    found = await claimed(queue)
    assert found.attempt == 1
    await queue.end(found)
    assert await queue.add("m-1", lane=lane(), record=again(due_record())) is Added.ENDED


async def test_a_claim_that_nobody_ends_comes_again(queue: WebhookQueue, clock: Clock) -> None:
    """Its holder was killed: not before the time for which it was lent, and then as a further try."""
    await add(queue, "m-1")
    await claimed(queue)
    clock.now += 9.9
    assert await queue.claim(lend_s=10) is None
    clock.now += 0.2
    assert (await claimed(queue)).attempt == 2


async def test_a_holder_that_was_taken_for_dead_changes_nothing(queue: WebhookQueue, clock: Clock) -> None:
    """Who claimed it after that says when it is due; but that it has arrived counts, whoever says so."""
    await add(queue, "m-1")
    zombie = await claimed(queue)
    clock.now += 11
    holder = await claimed(queue)
    await queue.postpone(zombie, 0)
    assert await queue.claim(lend_s=10) is None
    await queue.end(zombie)
    await queue.postpone(holder, 0)
    assert await queue.claim(lend_s=10) is None
    assert queue.waiting_bytes == 0


async def test_postponed(queue: WebhookQueue, clock: Clock) -> None:
    """Until then it is not due."""
    await add(queue, "m-1")
    await queue.postpone(await claimed(queue), 30)
    clock.now += 29.9
    assert await queue.claim(lend_s=10) is None
    clock.now += 0.2
    assert (await claimed(queue)).attempt == 2


async def test_a_busy_host_holds_up_no_other(queue: WebhookQueue, clock: Clock) -> None:
    """However much waits for it, and for however long."""
    for number in range(20):
        await add(queue, f"a-{number}", "a.example")
    clock.now += 1
    await add(queue, "b-1", "b.example")
    clock.now += 1
    await add(queue, "c-1", "c.example")
    assert [(await claimed(queue, "a.example", *more)).lane.host for more in ((), ("b.example",))] == [
        "b.example",
        "c.example",
    ]
    assert await queue.claim(lend_s=10, busy=("a.example", "b.example")) is None
    assert (await claimed(queue)).webhook_id == "a-0"


async def test_the_oldest_first(queue: WebhookQueue, clock: Clock) -> None:
    """Over all hosts."""
    for webhook_id, host in (("m-1", "a"), ("m-2", "b"), ("m-3", "a")):
        await add(queue, webhook_id, host)
        clock.now += 1
    assert [(await claimed(queue)).webhook_id for _ in range(3)] == ["m-1", "m-2", "m-3"]


async def test_two_workers_never_hold_the_same(redis: Redis, clock: Clock) -> None:
    """Each claim is one step."""
    queues = [WebhookQueue(redis, max_bytes=100_000, clock=clock) for _ in range(4)]
    for number in range(12):
        await add(queues[0], f"m-{number}")
    found = await asyncio.gather(*(claimed(queues[number % 4]) for number in range(12)))
    assert sorted(each.webhook_id for each in found) == sorted(f"m-{number}" for number in range(12))


async def test_what_waits_is_bounded(redis: Redis, queue: WebhookQueue) -> None:
    """Of one tenant for one host by a quarter, and in all; what has ended makes room."""
    await add(queue, "m-1")
    assert await queue.claim(lend_s=10, busy=("a.example",)) is None
    size = queue.waiting_bytes
    small = WebhookQueue(redis, max_bytes=8 * size, clock=lambda: 1_000.0)
    assert await add(small, "m-2") is Added.ADDED
    assert await add(small, "m-3") is Added.FULL
    for number in range(6):
        assert await add(small, f"n-{number}", f"host-{number}", f"t-{number}") is Added.ADDED, number
    assert await add(small, "n-7", "host-7", "t-7") is Added.FULL
    await small.end(await claimed(small))
    assert await add(small, "n-7", "host-7", "t-7") is Added.ADDED


@pytest.mark.parametrize("crowd", ["tenant", "host"])
async def test_nobody_has_more_room_than_is_free(redis: Redis, queue: WebhookQueue, crowd: str) -> None:
    """One tenant with very many hosts leaves half of it to others, and so does one host of many tenants."""
    await add(queue, "m-0", "h-0.example", "t-0")
    assert await queue.claim(lend_s=10, busy=("h-0.example",)) is None
    small = WebhookQueue(redis, max_bytes=40 * queue.waiting_bytes + 1, clock=lambda: 1_000.0)

    async def add_one(number: int) -> Added:
        host = "h-0.example" if crowd == "host" else f"h-{number % 4}.example"
        return await add(small, f"m-{number}", host, "t-0" if crowd == "tenant" else f"t-{number % 4}")

    assert [await add_one(number) for number in range(1, 21)] == [Added.ADDED] * 19 + [Added.FULL]
    assert await add(small, "other", "z.example", "z") is Added.ADDED


async def test_a_busy_tenant_holds_up_no_other(queue: WebhookQueue, clock: Clock) -> None:
    """However many hosts it names, and however many tenants wait for the same busy host."""
    for number in range(30):
        await add(queue, f"a-{number}", f"{number}.example")
    for number in range(120):
        await add(queue, f"s-{number}", "slow.example", f"tenant-{number}")
    clock.now += 1
    await add(queue, "z-1", "z.example", "zeta")
    found = await claimed(queue, lane().crowds[0], "slow.example")
    assert (found.webhook_id, found.lane) == ("z-1", lane("z.example", "zeta"))
    assert await queue.claim(lend_s=10, busy=(lane().crowds[0], "slow.example")) is None


async def test_a_tenant_s_share_of_a_host_is_its_own(queue: WebhookQueue) -> None:
    """What one tenant has filled at a host that many use is free to the next."""
    await add(queue, "m-1", "shared.example", "acme")
    await add(queue, "m-2", "shared.example", "globex")
    assert (await claimed(queue, lane("shared.example", "acme").name)).webhook_id == "m-2"


async def test_nothing_is_left_behind(redis: Redis, queue: WebhookQueue) -> None:
    """But the notes of what has ended, which expire."""
    await add(queue, "m-1")
    await queue.end(await claimed(queue))
    keys = await redis.keys("headrace:webhooks:*")
    assert keys == [b"headrace:webhooks:done:m-1"]
    assert 0 < await redis.ttl("headrace:webhooks:done:m-1") <= 3600


async def test_an_entry_that_is_lost_is_passed_over(redis: Redis, queue: WebhookQueue, clock: Clock) -> None:
    """What can be sent is sent."""
    await add(queue, "m-1")
    clock.now += 1
    await add(queue, "m-2")
    await redis.delete("headrace:webhooks:entry:m-1")
    assert (await claimed(queue)).webhook_id == "m-2"


async def test_redis_away() -> None:
    """A fault of ours, for those who wait and try again."""
    nowhere = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.5)
    with pytest.raises(StoreUnavailable):
        await add(WebhookQueue(nowhere, max_bytes=1), "m-1")
    await nowhere.aclose()


async def test_while_redis_is_nearly_full_nothing_is_added(redis: Redis, clock: Clock) -> None:
    """Its record waits in Kafka; what waits already is sent."""
    room = [True]
    queue = WebhookQueue(redis, max_bytes=100_000, has_room=lambda: room[0], clock=clock)
    await add(queue, "m-1")
    room[0] = False
    with pytest.raises(StoreFull):
        await add(queue, "m-2")
    await queue.end(await claimed(queue))
    room[0] = True
    assert await add(queue, "m-2") is Added.ADDED


async def test_what_counts_is_what_redis_needs(redis: Redis, clock: Clock) -> None:
    """Small webhooks to many hosts cost more than their records: no less is counted than is used."""
    queue = WebhookQueue(redis, max_bytes=40_000_000, clock=clock)
    before = (await redis.info("memory"))["used_memory"]
    for number in range(2_000):
        assert await add(queue, f"m-{number}", f"{number}.{'long-name' * 20}.example") is Added.ADDED
    used = (await redis.info("memory"))["used_memory"] - before
    counted = int(await redis.hget("headrace:webhooks:bytes", "") or 0)  # type: ignore[misc]  # its stubs
    assert used < counted

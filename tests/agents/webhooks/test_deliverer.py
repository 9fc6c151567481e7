"""Sending what is due: a real queue, and a receiver that does as it is told."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from redis.asyncio import Redis

from agents.webhooks.deliverer import Deliverer, DeliveryLimits, WebhookCounts
from agents.webhooks.posting import DeliveryResult, Done, Rejected, TryLater
from agents.webhooks.queue import Lane, WebhookQueue
from streams.errors import KafkaUnavailable, RecordTooLarge
from streams.publisher import Emit
from streams.redis import connection
from streams.registry.entries import reply_json
from streams.tasks import cancel_and_wait
from streams.topics import DEAD_LETTERS
from tests.agents.runner.runs import Sends
from tests.agents.webhooks.due import URL, due, due_record

pytestmark = pytest.mark.integration

KEY = b"k" * 32
NOW_S = 1_763_700_000.0


class Receiver:
    """Answers as it is told; those to whom `held` applies wait until they are released."""

    def __init__(self) -> None:
        self.answers: dict[str, list[DeliveryResult]] = {}
        self.held: Callable[[str], bool] = lambda url: False
        self.released = asyncio.Event()
        self.got: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.fault: Exception | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        self.got.append((url, body, headers))
        if self.fault is not None:
            raise self.fault
        if self.held(url):
            await self.released.wait()
        answers = self.answers.get(url)
        return answers.pop(0) if answers else Done("delivered")


class Delivering:
    """A deliverer with everything around it."""

    def __init__(
        self, redis: Redis, *, refuse: Callable[[Emit, int], Exception | None] = lambda emit, tries: None
    ) -> None:
        self.now = NOW_S
        self.queue = WebhookQueue(redis, max_bytes=10_000_000, clock=lambda: self.now)
        self.receiver = Receiver()
        self.sends = Sends([], refuse)
        self.counts = WebhookCounts()
        self.deliverer = self.another()

    def another(self) -> Deliverer:
        """Another worker's."""
        return Deliverer(
            self.queue,
            self.receiver,
            self.sends,
            keys=(KEY,),
            limits=DeliveryLimits(in_flight=5, per_host=2, attempts=3, timeout_s=10, dead_letter_s=15),
            counts=self.counts,
            clock=lambda: self.now,
        )

    async def add(self, *ids: str, host: str = "hooks.example", tenant: str = "acme") -> None:
        for each in ids:
            event = due(f"https://{host}/", request_id=each)
            await self.queue.add(f"msg_{each}", lane=Lane.of(tenant, host), record=due_record(event))

    async def send_all(self) -> None:
        """Send what is due, and wait for what comes of it."""
        while await self.deliverer.begin_next():
            pass
        await self.deliverer.settle()

    async def is_empty(self) -> bool:
        """Whether nothing waits any more, at whatever time."""
        assert await self.queue.claim(lend_s=1) is None
        return self.queue.waiting_bytes == 0


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client, and a database without webhooks."""
    client = connection.connect(redis_url, timeout_s=30)
    for key in await client.keys("headrace:webhooks:*"):
        await client.delete(key)
    yield client
    await client.aclose()


@pytest.fixture
def delivering(redis: Redis) -> Delivering:
    """A deliverer over an empty queue."""
    return Delivering(redis)


async def test_it_is_sent_signed(delivering: Delivering) -> None:
    """Headers as the specification names them; the body is the reply as `GET` gives it."""
    event = due()
    await delivering.queue.add("msg_1", lane=Lane.of("acme", "hooks.example"), record=due_record(event))
    await delivering.send_all()
    ((url, body, headers),) = delivering.receiver.got
    assert (url, body) == (URL, reply_json(event.reply))
    signed = hmac.new(KEY, b"msg_1.1763700000." + body, hashlib.sha256).digest()
    assert headers == {
        "content-type": "application/json",
        "user-agent": "headrace-webhooks",
        "webhook-id": "msg_1",
        "webhook-timestamp": "1763700000",
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }
    assert await delivering.is_empty()
    assert delivering.counts["delivered"] == 1


async def test_it_is_tried_again_until_it_arrives(delivering: Delivering) -> None:
    """Not before its time; each time under the same id, and signed at that time."""
    url = "https://hooks.example/"
    delivering.receiver.answers[url] = [TryLater("away"), TryLater("away", 40.0)]
    await delivering.add("1")
    times = []
    for _ in range(600):
        before = len(delivering.receiver.got)
        await delivering.send_all()
        if len(delivering.receiver.got) > before:
            times.append(delivering.now - NOW_S)
        delivering.now += 0.25
    assert len(times) == 3
    assert 0.75 <= times[1] <= 1.75
    assert 40 <= times[2] - times[1] <= 40.5
    assert {headers["webhook-id"] for _, _, headers in delivering.receiver.got} == {"msg_1"}
    assert len({headers["webhook-timestamp"] for _, _, headers in delivering.receiver.got}) == 3
    assert (delivering.counts["retried"], delivering.counts["delivered"]) == (2, 1)
    assert await delivering.is_empty()


async def test_it_is_given_up_after_so_many_tries(delivering: Delivering) -> None:
    """A dead letter keeps the record, and says why."""
    delivering.receiver.answers["https://hooks.example/"] = [TryLater("it answered 503")] * 3
    await delivering.add("1")
    for _ in range(3):
        await delivering.send_all()
        delivering.now += 60
    (letter,) = delivering.sends.sent
    headers = dict(letter.headers)
    assert (letter.topic, letter.value) == (
        DEAD_LETTERS.name,
        due_record(due("https://hooks.example/", request_id="1")).value,
    )
    assert headers["__streams.errors.stage"] == b"webhooks"
    assert headers["__streams.errors.exception"] == b"WebhookFailed"
    assert headers["__streams.errors.message"] == b"it answered 503; that was try 3 of 3"
    assert await delivering.is_empty()
    assert delivering.counts["dead_lettered"] == 1


async def test_a_refusal_ends_it_at_once_and_so_does_gone(delivering: Delivering) -> None:
    """The first as a dead letter; the second is what its receiver wants."""
    delivering.receiver.answers["https://hooks.example/"] = [Rejected("it answered 404")]
    delivering.receiver.answers["https://gone.example/"] = [Done("gone")]
    await delivering.add("1")
    await delivering.add("2", host="gone.example")
    await delivering.send_all()
    assert len(delivering.sends.sent) == 1
    assert (delivering.counts["dead_lettered"], delivering.counts["gone"]) == (1, 1)
    assert await delivering.is_empty()


async def test_a_host_that_hangs_holds_up_no_other(delivering: Delivering) -> None:
    """It has its share and no more, though more waits for it; all others go on."""
    delivering.receiver.held = lambda url: "slow" in url
    await delivering.add(*(f"s-{number}" for number in range(6)), host="slow.example")
    delivering.now += 1
    await delivering.add("q-1", "q-2", "q-3")
    async with asyncio.timeout(20):
        while delivering.counts["delivered"] < 3 or delivering.counts.in_flight > 2:
            await delivering.deliverer.begin_next()
            await asyncio.sleep(0.005)
    sent = [url for url, _, _ in delivering.receiver.got]
    assert sent.count("https://slow.example/") == 2
    assert sent.count("https://hooks.example/") == 3
    assert delivering.counts.in_flight == 2
    delivering.receiver.released.set()
    await delivering.deliverer.settle()


async def test_a_host_that_is_not_well_gets_one_at_a_time(delivering: Delivering) -> None:
    """Until it answers again: receivers that hang must not fill the places of those that do not."""
    delivering.receiver.answers["https://hooks.example/"] = [TryLater("it did not answer in time")]
    await delivering.add("1")
    await delivering.send_all()
    await delivering.add("2", "3", "4")
    delivering.receiver.held = lambda url: True
    assert [await delivering.deliverer.begin_next() for _ in range(2)] == [True, False]
    delivering.receiver.released.set()
    await delivering.deliverer.settle()
    assert [await delivering.deliverer.begin_next() for _ in range(3)] == [True, True, False]
    await delivering.deliverer.settle()


@pytest.mark.parametrize("crowd", ["tenant", "host"])
async def test_nobody_has_more_than_is_free(delivering: Delivering, crowd: str) -> None:
    """A tenant whose very many hosts hang leaves room, and so does a host that hangs for many tenants."""
    delivering.receiver.held = lambda url: "slow" in url
    for number in range(20):
        host = "slow.example" if crowd == "host" else f"{number}.slow.example"
        tenant = "acme" if crowd == "tenant" else f"t-{number}"
        await delivering.add(f"s-{number}", host=host, tenant=tenant)
    delivering.now += 1
    await delivering.add(*(f"q-{number}" for number in range(4)), tenant="globex")
    async with asyncio.timeout(20):
        while delivering.counts["delivered"] < 4:
            await delivering.deliverer.begin_next()
            await asyncio.sleep(0.005)
    assert sum("slow" in url for url, _, _ in delivering.receiver.got) == 3
    delivering.receiver.released.set()
    await delivering.deliverer.settle()


async def test_one_tenant_s_failures_at_a_host_slow_no_other_tenant(delivering: Delivering) -> None:
    """Many use the same host, each at a path of its own: who names one that fails waits for it alone."""
    delivering.receiver.answers["https://hooks.example/"] = [TryLater("it answered 503")]
    await delivering.add("1")
    await delivering.send_all()
    await delivering.add("2", "3", tenant="globex")
    delivering.receiver.held = lambda url: True
    assert [await delivering.deliverer.begin_next() for _ in range(3)] == [True, True, False]
    delivering.receiver.released.set()
    await delivering.deliverer.settle()


async def test_so_many_at_once_and_no_more(delivering: Delivering) -> None:
    """Over all tenants and hosts."""
    delivering.receiver.held = lambda url: True
    for number in range(8):
        await delivering.add(str(number), host=f"{number}.example", tenant=f"t-{number}")
    begun = [await delivering.deliverer.begin_next() for _ in range(7)]
    assert begun == [True] * 5 + [False] * 2
    delivering.receiver.released.set()
    await delivering.deliverer.settle()
    await delivering.send_all()
    assert delivering.counts["delivered"] == 8


async def test_what_a_dead_worker_was_sending_is_sent_by_another(delivering: Delivering) -> None:
    """Under the same id: its receiver may have it already."""
    delivering.receiver.held = lambda url: len(delivering.receiver.got) == 1
    await delivering.add("1")
    await delivering.deliverer.begin_next()
    await asyncio.sleep(0)
    other = delivering.another()
    assert not await other.begin_next()
    delivering.now += 16
    assert await other.begin_next()
    await other.settle()
    assert [headers["webhook-id"] for _, _, headers in delivering.receiver.got] == ["msg_1", "msg_1"]
    assert await delivering.is_empty()
    delivering.receiver.released.set()
    await delivering.deliverer.settle()


async def test_a_dead_letter_that_the_broker_does_not_take(redis: Redis) -> None:
    """It is tried again later, and not forgotten."""
    away = Delivering(redis, refuse=lambda emit, tries: KafkaUnavailable("away") if tries == 1 else None)
    away.receiver.answers["https://hooks.example/"] = [Rejected("it answered 404")] * 2
    await away.add("1")
    await away.send_all()
    assert (away.sends.sent, await away.is_empty()) == ([], False)
    away.now += 19
    await away.send_all()
    assert away.sends.sent == []
    away.now += 2
    await away.send_all()
    assert (len(away.sends.sent), await away.is_empty()) == (1, True)


async def test_a_dead_letter_that_is_too_large(redis: Redis) -> None:
    """No try can help: it ends, and the log says so."""
    full = Delivering(redis, refuse=lambda emit, tries: RecordTooLarge("9 MiB"))
    full.receiver.answers["https://hooks.example/"] = [Rejected("it answered 404")]
    await full.add("1")
    await full.send_all()
    assert await full.is_empty()


async def test_a_bug_ends_one_webhook_and_not_the_others(delivering: Delivering) -> None:
    """As a dead letter, so that it is not tried for ever."""
    delivering.receiver.fault = ValueError("a bug")
    await delivering.add("1")
    await delivering.send_all()
    delivering.receiver.fault = None
    await delivering.add("2")
    await delivering.send_all()
    assert len(delivering.sends.sent) == 1
    assert dict(delivering.sends.sent[0].headers)["__streams.errors.message"] == b"ValueError: a bug"
    assert delivering.counts["delivered"] == 1


async def test_it_runs_by_itself(delivering: Delivering) -> None:
    """It is woken by what is added, and ends when it is told to."""
    running = asyncio.create_task(delivering.deliverer.run())
    await delivering.add("1")
    delivering.deliverer.wake()
    async with asyncio.timeout(10):
        while not delivering.counts["delivered"]:
            await asyncio.sleep(0.01)
        await cancel_and_wait(running)
    await delivering.add("2")
    assert len(delivering.receiver.got) == 1


async def test_it_goes_on_while_redis_is_away(delivering: Delivering) -> None:
    """And when something is there that nobody can read."""
    nowhere = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    slept: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            enough.set()

    deliverer = Deliverer(
        WebhookQueue(nowhere, max_bytes=1),
        delivering.receiver,
        delivering.sends,
        keys=(KEY,),
        limits=DeliveryLimits(in_flight=5, per_host=2, attempts=3, timeout_s=10, dead_letter_s=15),
        counts=delivering.counts,
        sleep=sleep,
    )
    running = asyncio.create_task(deliverer.run())
    async with asyncio.timeout(10):
        await enough.wait()
        await cancel_and_wait(running)
    await nowhere.aclose()

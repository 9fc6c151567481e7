"""Deltas that were written before this process read, or to a partition that it does not read."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError

from ingest.follow import delta_history
from ingest.follow.delta_history import DeltaHistory, deltas_partition
from ingest.follow.reply_consumer import ReplyConsumer
from ingest.follow.reply_hub import ReplyHub, ReplyListener
from streams.backoff import Backoff
from streams.events import Delta, ReplyAddress
from streams.kafka import groupless_consumer
from streams.kafka.clients import start_client
from streams.kafka.groupless_consumer import GrouplessConsumer
from streams.publisher import Emit, Publisher
from streams.registry.registry import RequestState
from streams.topics import DELTAS, REPLIES
from tests.parts import PARTITIONS

_TIMEOUT_S = 30.0


def _address(partition: int | None) -> ReplyAddress:
    return ReplyAddress(topic=REPLIES.name, partition=partition)


def _now() -> datetime:
    return datetime.now(UTC)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


class Consumers:
    """Counts the consumers that are opened, and those that are open; the first few may fail."""

    def __init__(self, *, faults: int = 0) -> None:
        self.opened = 0
        self.faults = faults
        self.passes = 0
        self.since_s: list[float] = []
        self.latest: AIOKafkaConsumer | None = None

    async def start(self, consumer: AIOKafkaConsumer, *, timeout_s: float) -> None:
        """Connect one; those of the reply consumer are not counted."""
        if consumer._client._client_id != "history":
            await start_client(consumer, timeout_s=timeout_s)
            return
        self.opened += 1
        if self.opened <= self.faults:
            await consumer.stop()
            raise KafkaConnectionError
        await start_client(consumer, timeout_s=timeout_s)
        look_up = consumer.offsets_for_times

        async def counted(timestamps: dict[object, int]) -> object:
            self.passes += len(timestamps)
            self.since_s += [timestamp / 1000 for timestamp in timestamps.values()]
            return await look_up(timestamps)

        consumer.offsets_for_times = counted
        self.latest = consumer


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> Consumers:
    """The consumers that the history opens."""
    found = Consumers()
    monkeypatch.setattr(groupless_consumer, "start_client", found.start)
    return found


class Replica:
    """One ingest's ears: the hub, the reply consumer, and the history."""

    def __init__(self, hub: ReplyHub, past: DeltaHistory, publisher: Publisher, live: ReplyConsumer) -> None:
        self.hub = hub
        self.past = past
        self.live = live
        self._publisher = publisher

    async def write(
        self, request_id: str, partition: int, *texts: str, first: int = 0, attempt: int = 1
    ) -> None:
        """Write deltas as a worker does."""
        for seq, text in enumerate(texts, first):
            delta = Delta(request_id=request_id, attempt=attempt, seq=seq, text=text)
            await self._publisher.publish(Emit.to(DELTAS, delta, key=request_id, partition=partition))

    def follow(
        self, stack: ExitStack, request_id: str, partition: int, *, since: datetime | None = None
    ) -> ReplyListener:
        """Listen to a request as the route does."""
        listener = stack.enter_context(self.hub.listen(request_id))
        stack.enter_context(
            self.past.following(
                request_id,
                RequestState(
                    tenant="acme",
                    state="running",
                    registered_at=since or _now(),
                    reply_to=_address(partition),
                ),
                complete=listener.answer.complete,
            )
        )
        return listener


@asynccontextmanager
async def _replica(bootstrap: str, *, index: int = 0, lookback_s: float = 60.0) -> AsyncIterator[Replica]:
    hub = ReplyHub(max_listeners=1_000)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(Publisher(bootstrap, client_id="worker"))
        kafka = GrouplessConsumer(bootstrap, client_id="live", timeout_s=10)
        live = ReplyConsumer(kafka, hub, replica=index, replicas=2)
        stack.push_async_callback(live.stop)
        await live.start()
        past = DeltaHistory(
            GrouplessConsumer(bootstrap, client_id="history", timeout_s=10),
            hub,
            live,
            lookback_s=lookback_s,
        )
        stack.push_async_callback(past.close)
        yield Replica(hub, past, publisher, live)


@pytest.fixture
def request_id() -> str:
    """An id that no other test uses."""
    return str(uuid.uuid4())


@pytest.mark.parametrize(
    ("reply_to", "partition"),
    [
        (_address(3), 3),
        (_address(PARTITIONS), None),  # as a service may have named it: it is refused elsewhere
        (_address(-1), None),
    ],
)
def test_where_deltas_are_written(reply_to: ReplyAddress, partition: int | None) -> None:
    """Where the reply goes."""
    assert deltas_partition(reply_to, "r-1", PARTITIONS) == partition


@pytest.mark.integration
async def test_where_deltas_without_a_reply_partition_are_written(kafka_bootstrap: str) -> None:
    """Where the producer puts their key."""
    elsewhere = ReplyAddress(topic="billing.replies", partition=3)
    async with Publisher(kafka_bootstrap, client_id="worker") as publisher:
        for index in range(12):
            delta = Delta(request_id=f"r-{index}", attempt=1, seq=0, text="a")
            written = await publisher.publish(Emit.to(DELTAS, delta, key=delta.request_id))
            for address in (_address(None), elsewhere):
                assert deltas_partition(address, delta.request_id, PARTITIONS) == written.partition


@pytest.mark.integration
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("partition", [0, 1], ids=["own", "another's"])
async def test_what_was_heard_from_the_start_is_not_read_again(
    kafka_bootstrap: str, consumers: Consumers, request_id: str, partition: int, whole: bool
) -> None:
    """But another's partition is read, whatever was heard: its deltas never come by here."""
    async with _replica(kafka_bootstrap) as replica:
        with ExitStack() as stack:
            stack.enter_context(replica.hub.listen(request_id))
            if whole:
                replica.hub.mark_complete(request_id)
            replica.follow(stack, request_id, partition)
            if partition == 0 and whole:
                await asyncio.sleep(0)
                assert replica.past._task is None
            else:
                await _until(lambda: consumers.opened == 1)


@pytest.mark.integration
@pytest.mark.parametrize("partition", [0, 1], ids=["own", "another's"])
async def test_a_request_is_heard_from_its_first_delta_on(
    kafka_bootstrap: str, consumers: Consumers, request_id: str, partition: int
) -> None:
    """What was written before anybody followed, and then what is written while somebody does."""
    async with _replica(kafka_bootstrap) as replica:
        await replica.write(request_id, partition, "a", "b")
        await replica.write(f"{request_id}-other", partition, "x")
        with ExitStack() as stack:
            listener = replica.follow(stack, request_id, partition)
            await _until(lambda: listener.answer.so_far.text == "ab")
            await replica.write(request_id, partition, "c", first=2)
            await _until(lambda: listener.answer.so_far.text == "abc")
            await replica.write(request_id, partition, "A", "B", attempt=2)
            await _until(lambda: listener.answer.so_far.text == "AB")
            await _until(lambda: listener.answer.complete == (partition == 0))
            assert consumers.opened == 1


@pytest.mark.integration
async def test_an_own_partition_is_left_to_the_reply_consumer(
    kafka_bootstrap: str, consumers: Consumers, request_id: str
) -> None:
    """Once the history has come up with it; who follows later needs no pass at all."""
    async with _replica(kafka_bootstrap) as replica:
        await replica.write(request_id, 0, "a")
        with ExitStack() as stack:
            listener = replica.follow(stack, request_id, 0)
            await _until(lambda: listener.answer.complete)
            assert (listener.answer.so_far.text, replica.past._wanted, replica.past._replays) == ("a", {}, {})
            replica.follow(stack, request_id, 0)
            assert (replica.past._wanted, consumers.passes) == ({}, 1)


@pytest.mark.integration
async def test_many_clients_cost_one_consumer_and_few_replays(
    kafka_bootstrap: str, consumers: Consumers, request_id: str
) -> None:
    """As after a crash: all of them come back at once, some a little later."""
    names = [f"{request_id}-{index}" for index in range(400)]
    registered_at = _now()  # before the first delta, however long writing them takes
    async with _replica(kafka_bootstrap) as replica:
        for index, name in enumerate(names):
            await replica.write(name, index % PARTITIONS, "a", "b")
        with ExitStack() as stack:
            listeners = []
            for index, name in enumerate(names):
                listeners.append(replica.follow(stack, name, index % PARTITIONS, since=registered_at))
                if index % 100 == 99:
                    await asyncio.sleep(0.005)
            await _until(lambda: all(each.answer.so_far.text == "ab" for each in listeners))
            assert consumers.opened == 1
            assert consumers.passes <= 4 * PARTITIONS
        await _until(lambda: not replica.past._replays)


@pytest.mark.integration
async def test_a_pass_back_takes_nothing_twice(
    kafka_bootstrap: str, consumers: Consumers, request_id: str
) -> None:
    """A request that is older than the one that is followed already: the reader goes back for it."""
    old, new = f"{request_id}-old", f"{request_id}-new"
    async with _replica(kafka_bootstrap) as replica:
        await replica.write(old, 1, "a", "b")
        later = _now() + timedelta(seconds=delta_history._CLOCK_MARGIN_S)
        with ExitStack() as stack:
            second = replica.follow(stack, new, 1, since=later)
            await _until(lambda: consumers.passes == 1)
            await replica.write(new, 1, "x")
            await _until(lambda: second.answer.so_far.text == "x")
            first = replica.follow(stack, old, 1)
            await replica.write(new, 1, "y", first=1)
            await _until(lambda: (first.answer.so_far.text, second.answer.so_far.text) == ("ab", "xy"))
            assert consumers.passes == 2


@pytest.mark.integration
async def test_a_broker_that_is_away_is_tried_again(
    kafka_bootstrap: str, consumers: Consumers, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client hears nothing of it but a delay."""
    monkeypatch.setattr(groupless_consumer, "RECONNECT", Backoff(first_s=0.0))
    consumers.faults = 2
    async with _replica(kafka_bootstrap) as replica:
        await replica.write(request_id, 1, "a")
        with ExitStack() as stack:
            listener = replica.follow(stack, request_id, 1)
            await _until(lambda: listener.answer.so_far.text == "a")
            assert consumers.opened == 3
            assert consumers.latest is not None
            await consumers.latest.stop()  # whatever ended it
            consumers.faults = 4
            await replica.write(request_id, 1, "b", first=1)
            await _until(lambda: listener.answer.so_far.text == "ab")


@pytest.mark.integration
async def test_it_ends_when_nobody_follows(
    kafka_bootstrap: str, consumers: Consumers, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while the consumer is closed; the next client opens another."""
    monkeypatch.setattr(delta_history, "_IDLE_S", 0.0)
    async with _replica(kafka_bootstrap) as replica:
        for number in (1, 2):
            with ExitStack() as stack:
                replica.follow(stack, request_id, 1)
                replica.follow(stack, request_id, 1)
                await _until(partial(lambda count: consumers.passes == count, number))
            task = replica.past._task
            assert task is not None
            await _until(task.done)
            assert (replica.past._wanted, replica.past._replays) == ({}, {})
            assert consumers.opened == number


@pytest.mark.integration
async def test_how_far_back_is_bounded(kafka_bootstrap: str, consumers: Consumers, request_id: str) -> None:
    """Of a request that has waited for hours, what is older than any answer is not looked for."""
    async with _replica(kafka_bootstrap, lookback_s=60.0) as replica:
        with ExitStack() as stack:
            before = _now()
            replica.follow(stack, request_id, 1, since=before - timedelta(hours=5))
            await _until(lambda: consumers.passes == 1)
            oldest = before.timestamp() - 60.0 - delta_history._CLOCK_MARGIN_S
            assert oldest <= consumers.since_s[0] + 0.001 <= _now().timestamp() - 60.0

"""A group member over a stand-in for aiokafka's consumer: rebalances, drains and commits, step by step.

D to G are the losses that docs/decisions/0001-group-consumer.md describes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError, KafkaError
from aiokafka.structs import TopicPartition

from agents.runner.assignment import RecordBatch
from agents.runner.group_consumer import GroupConsumer
from streams.pipeline import StageSpec
from streams.topics import REPLIES, REQUESTS
from tests.agents.runner.live import settings

P0 = TopicPartition("t", 0)


class Kafka:
    """What a `GroupConsumer` uses of aiokafka's consumer, and the broker behind it."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, int]] = []
        self.fault: KafkaError | None = None
        self.fetches: asyncio.Queue[Mapping[TopicPartition, Sequence[Any]] | BaseException] = asyncio.Queue()
        self._subscription: Any = SimpleNamespace(
            subscription=SimpleNamespace(assignment=None), reassignment_in_progress=True
        )
        self._coordinator: Any = SimpleNamespace(
            generation=-1,
            member_id="",
            ensure_coordinator_known=self._known,
            _do_commit_offsets=self._commit,
        )

    def join(self, generation: int = 1) -> None:
        """The group gives us the partition; the listener does not know it yet."""
        self._coordinator.generation, self._coordinator.member_id = generation, "m"
        state = SimpleNamespace(highwater=20, timestamp=7, _position=14)
        self._subscription.subscription.assignment = SimpleNamespace(
            tps=frozenset({P0}), active=True, state_value=lambda _: state
        )
        self._subscription.reassignment_in_progress = False

    def expel(self) -> None:
        """The group has expelled us: aiokafka forgets its membership, and joins anew."""
        self._coordinator.generation, self._coordinator.member_id = -1, ""
        self._subscription.reassignment_in_progress = True

    async def getmany(self, **_: Any) -> Mapping[TopicPartition, Sequence[Any]]:
        found = await self.fetches.get()
        if isinstance(found, BaseException):
            raise found
        return found

    async def stop(self) -> None:
        """Disconnect."""

    async def _known(self) -> None:
        """The coordinator is known."""

    async def _commit(self, _: Any, offsets: Mapping[TopicPartition, Any]) -> None:
        if self.fault is not None:
            raise self.fault
        self.commits.append({at: each.offset for at, each in offsets.items()})


class Member:
    """A group member, what it has handed on, and what it has told."""

    def __init__(self, *, drain_s: float = 30.0) -> None:
        self.kafka = Kafka()
        self.batches: list[RecordBatch] = []
        self.told: list[str] = []
        self.faults: list[BaseException] = []
        self.on_drain: Callable[[], None] = lambda: None
        self.consumer = GroupConsumer(
            StageSpec(name="t", source=REQUESTS, next=REPLIES),
            settings("127.0.0.1:1", drain_timeout_s=drain_s),
            deliver=self._deliver,
            on_assigned=lambda: self.told.append("assigned"),
            on_drain=self._drain,
            on_fault=self.faults.append,
        )
        self.consumer._consumer = self.kafka
        self.reading = asyncio.ensure_future(self.consumer._read())
        self.reading.add_done_callback(self.consumer._ended)

    async def fetch(self, *offsets: int) -> RecordBatch:
        """The broker answers a fetch; return what is handed on."""
        before = len(self.batches)
        records = [SimpleNamespace(topic="t", partition=0, offset=offset) for offset in offsets]
        self.kafka.fetches.put_nowait({P0: records})
        await until(lambda: len(self.batches) > before)
        return self.batches[-1]

    def end(self, batch: RecordBatch, *offsets: int) -> None:
        for record in batch.records:
            if record.offset in offsets:
                batch.assignment.end(record, done=True)

    async def _deliver(self, batch: RecordBatch) -> None:
        self.told.append("delivered")
        self.batches.append(batch)
        for _ in batch.records:
            batch.assignment.begin()

    def _drain(self) -> None:
        self.told.append("draining")
        self.on_drain()


@pytest.fixture
async def member() -> AsyncIterator[Callable[..., Member]]:
    members: list[Member] = []

    def make(**given: Any) -> Member:
        members.append(Member(**given))
        return members[-1]

    yield make
    for each in members:
        each.reading.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def revoke(of: Member) -> None:
    of.kafka._subscription.reassignment_in_progress = True
    await of.consumer.on_partitions_revoked([P0])


async def test_bug_d_what_was_done_before_a_revoke_is_committed(member: Callable[..., Member]) -> None:
    """Faust forgets it first, and all of it is delivered again."""
    it = member()
    it.kafka.join()
    it.end(await it.fetch(10, 11, 12), 10, 11, 12)
    await revoke(it)
    assert it.kafka.commits == [{P0: 13}]


async def test_bug_d_the_drain_of_a_revoke_does_not_pass_what_is_in_flight(
    member: Callable[..., Member],
) -> None:
    """Of 10, 11 and 12 only 10 and 12 end within the drain. Faust commits 13, and 11 is lost."""
    it = member(drain_s=0.001)
    it.kafka.join()
    batch = await it.fetch(10, 11, 12)
    it.on_drain = lambda: it.end(batch, 10, 12)
    await revoke(it)
    assert it.kafka.commits == [{P0: 11}]
    assert it.told == ["assigned", "delivered", "draining"]


async def test_a_drain_ends_as_soon_as_nothing_is_in_flight(member: Callable[..., Member]) -> None:
    """It may take 30 s; what only waits for a time of day is handed back when it begins."""
    it = member()
    it.kafka.join()
    batch = await it.fetch(10)
    it.on_drain = lambda: it.end(batch, 10)
    async with asyncio.timeout(20):
        await revoke(it)
    assert it.kafka.commits == [{P0: 11}]


async def test_a_stop_commits_while_it_waits_for_a_slow_record(member: Callable[..., Member]) -> None:
    """It may wait for 40 s, and the process may be killed meanwhile."""
    it = member()
    it.consumer._reading = it.reading
    it.consumer._commits = asyncio.create_task(it.consumer._commit_regularly())
    it.kafka.join()
    batch = await it.fetch(10, 11)
    stopping = asyncio.create_task(it.consumer.stop())
    await until(lambda: batch.assignment.revoked)
    it.end(batch, 10)
    async with asyncio.timeout(20):
        while not it.kafka.commits:
            await asyncio.sleep(0.01)
    assert it.kafka.commits == [{P0: 11}]
    it.end(batch, 11)
    await stopping
    assert it.kafka.commits == [{P0: 11}, {P0: 12}]


async def test_bugs_e_and_f_what_is_fetched_before_the_listener_is_told_is_tracked(
    member: Callable[..., Member],
) -> None:
    """Aiokafka fetches before it tells its listener of an assignment. Faust forgets what it has delivered."""
    it = member()
    it.kafka.join()
    batch = await it.fetch(10, 11)
    await it.consumer.on_partitions_assigned([P0])
    it.end(batch, 11)
    await it.consumer.commit()
    assert it.kafka.commits == []
    it.end(batch, 10)
    await it.consumer.commit()
    assert it.kafka.commits == [{P0: 12}]
    assert it.told == ["assigned", "delivered"]


async def test_bugs_e_and_f_a_batch_of_a_former_assignment_is_not_begun(
    member: Callable[..., Member],
) -> None:
    """It is delivered again, to whoever has the partition; handed on now, a commit would pass it."""
    it = member(drain_s=0.001)
    it.kafka.join()
    former = await it.fetch(10, 11)
    await revoke(it)
    assert former.assignment.revoked
    assert it.consumer.is_rebalancing
    it.kafka.join(generation=2)
    again = await it.fetch(10, 11)
    assert not again.assignment.revoked


async def test_an_end_after_a_revoke_commits_nothing(member: Callable[..., Member]) -> None:
    """The record has outlived the drain: its partition is somebody else's, or begins anew here."""
    it = member(drain_s=0.001)
    it.kafka.join()
    former = await it.fetch(10, 11)
    await revoke(it)
    it.kafka.join(generation=2)
    again = await it.fetch(10, 11)
    it.end(former, 10, 11)
    await it.consumer.commit()
    assert it.kafka.commits == []
    it.end(again, 10)
    await it.consumer.commit()
    assert it.kafka.commits == [{P0: 11}]


async def test_bug_g_an_expelled_member_commits_nothing(member: Callable[..., Member]) -> None:
    """Aiokafka sends generation -1 then, which the coordinator takes from a group that has no members."""
    it = member()
    it.kafka.join()
    batch = await it.fetch(10)
    it.on_drain = lambda: it.end(batch, 10)
    it.kafka.expel()
    await it.consumer.on_partitions_revoked([P0])
    assert it.kafka.commits == []


async def test_bug_g_nothing_is_committed_with_a_later_membership(member: Callable[..., Member]) -> None:
    """The offsets are of the former one; another member may have gone on from an earlier commit."""
    it = member()
    it.kafka.join()
    it.end(await it.fetch(10), 10)
    it.kafka._coordinator.generation = 2
    await it.consumer.commit()
    assert it.kafka.commits == []


async def test_a_member_that_was_expelled_before_its_first_record_commits_nothing(
    member: Callable[..., Member],
) -> None:
    """Its assignment was read with the generation of no member."""
    it = member()
    it.kafka.join(generation=-1)
    it.end(await it.fetch(10), 10)
    await it.consumer.commit()
    assert it.kafka.commits == []


async def test_a_commit_that_fails_is_made_again(member: Callable[..., Member]) -> None:
    """The broker was away, or the group is being rebalanced."""
    it = member()
    it.kafka.join()
    it.end(await it.fetch(10), 10)
    it.kafka.fault = IllegalGenerationError()
    await it.consumer.commit()
    it.kafka.fault = None
    await it.consumer.commit()
    assert it.kafka.commits == [{P0: 11}]


async def test_a_failed_fetch_is_made_again_and_does_not_count_as_a_poll(
    member: Callable[..., Member],
) -> None:
    """The watchdog must see that a consumer gets nothing but faults."""
    it = member()
    it.kafka.join()
    it.kafka.fetches.put_nowait(KafkaError("away"))
    await until(it.kafka.fetches.empty)
    assert it.consumer.polls == 0
    assert [each.offset for each in (await it.fetch(10)).records] == [10]
    assert it.consumer.polls == 1


async def test_a_bug_in_the_reading_is_told(member: Callable[..., Member]) -> None:
    """Otherwise the stage would stand still for ever."""
    it = member()
    it.kafka.join()
    it.kafka.fetches.put_nowait(ZeroDivisionError())
    await until(lambda: bool(it.faults))
    assert isinstance(it.faults[0], ZeroDivisionError)


async def test_progress_is_of_the_present_assignment(member: Callable[..., Member]) -> None:
    """The watchdog and /ready read it."""
    it = member(drain_s=0.001)
    assert (it.consumer.is_rebalancing, it.consumer.progress()) == (True, ())
    it.kafka.join()
    await it.consumer.on_partitions_assigned([P0])
    assert not it.consumer.is_rebalancing
    assert [each.in_hand for each in it.consumer.progress()] == [0]
    await revoke(it)
    assert (it.consumer.is_rebalancing, it.consumer.progress()) == (True, ())
    assert it.consumer.rebalances == 1


async def test_records_collect_while_a_batch_is_worked_on(
    member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next batch is asked for once every record of the one before is over."""
    monkeypatch.setattr("agents.runner.group_consumer._COLLECT_S", 3600.0)
    it = member()
    it.kafka.join()
    batch = await it.fetch(10, 11)
    it.kafka.fetches.put_nowait({P0: [SimpleNamespace(topic="t", partition=0, offset=12)]})
    batch.end_one()
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(it.batches) == 1
    batch.end_one()
    await until(lambda: len(it.batches) == 2)

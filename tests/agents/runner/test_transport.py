"""The safe consumer's bookkeeping, beside the stock one's: the same deliveries and acks through both.

A to D are the bugs of Faust 0.15.3 that docs/decisions/0001-safe-consumer.md describes. Each test asserts
the wrong value of the stock consumer too: when a new Faust mends a bug, its test says so.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.transport.drivers.aiokafka import Consumer as StockConsumer
from faust.transport.drivers.aiokafka import Transport as StockTransport
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service
from yarl import URL

from agents.runner import transport
from agents.runner.consumer_thread import Fetched, ReadPosition
from agents.runner.transport import PartitionProgress, SafeConsumer, Transport

P0, P1 = TP("t", 0), TP("t", 1)


class _NoThread(Service):
    """Stands in for the thread that reads from the broker."""

    place = ReadPosition(0, None)
    _consumer: Any = None


class Bench:
    """A consumer without a broker, and the messages it was given."""

    def __init__(self, kind: type[StockConsumer]) -> None:
        app = faust.App(
            f"bench-{kind.__name__}", broker="kafka://127.0.0.1:1", set_as_current=False, autodiscover=False
        )
        conductor: Any = app.topics
        conductor._acking_topics.add("t")
        factory = Transport if kind is SafeConsumer else StockTransport
        self.on_revoked: Callable[[set[TP]], Awaitable[None]] | None = None
        self.committed: dict[TP, int] = {}
        self.passed_on: list[int] = []
        self.messages: dict[tuple[TP, int], ConsumerMessage] = {}
        bare = type(
            kind.__name__, (kind,), {"_new_consumer_thread": lambda self: _NoThread(beacon=self.beacon)}
        )
        self.consumer: StockConsumer = bare(
            factory([URL("kafka://unused")], app), self._receive, self._revoked, self._assigned
        )
        self.consumer.assignment = lambda: {P0, P1}

    async def _receive(self, message: ConsumerMessage) -> None:
        self.passed_on.append(message.offset)
        self.consumer.track_message(message)

    async def _revoked(self, revoked: set[TP]) -> None:
        if self.on_revoked is not None:
            await self.on_revoked(revoked)

    async def _assigned(self, *_: Any) -> None:
        """Nothing to do."""

    def committed_before(self, offset: int, tp: TP = P0) -> None:
        """The group has a commit from an earlier life."""
        self.consumer._committed_offset[tp] = offset
        self.consumer._read_offset[tp] = offset

    async def deliver(self, *offsets: int, tp: TP = P0) -> None:
        """Deliver as Faust's `_drain_messages` does, gaps included."""
        consumer: Any = self.consumer
        if isinstance(consumer, SafeConsumer):
            assert consumer._follows_on(consumer._thread.place)
        for offset in offsets:
            message = self._message(tp, offset)
            self.messages[tp, offset] = message
            read = self.consumer._read_offset[tp]
            if read and offset - read > 1:
                await self.consumer._add_gap(tp, read + 1, offset)
            await self.consumer.callback(message)
            self.consumer._read_offset[tp] = offset

    def read_anew(self) -> None:
        """The thread has gone back."""
        consumer: Any = self.consumer
        consumer._thread.place = ReadPosition(consumer._thread.place.seeks + 1, None)

    def ack(self, *offsets: int, tp: TP = P0) -> None:
        for offset in offsets:
            self.consumer.ack(self.messages[tp, offset])

    def commit(self, tp: TP = P0) -> int | None:
        """Commit as Faust's `_commit_tps` does; return the committed offset."""
        for each, offset in self.consumer._filter_committable_offsets([tp]).items():
            self.committed[each] = offset
            self.consumer._committed_offset[each] = offset
        return self.committed.get(tp)

    def _message(self, tp: TP, offset: int) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic, tp.partition, offset, 0.0, 0, [], b"k", b"v", None, 1, 1, tp, generation_id=1
        )


class Reading:
    """What a consumer's thread has fetched, and what of it the consumer hands on."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.consumer: Any = bench.consumer
        self.consumer._to_message = bench._message
        self.sought = 0

        async def seek_to_committed() -> dict[TP, int]:
            self.sought += 1
            raise ConnectionError("the broker is away")

        self.consumer.seek_to_committed = seek_to_committed

    def fetch(self, *offsets: int) -> None:
        """The next answer of the thread, from where it stands now."""
        fetched = Fetched({P0: list(offsets)})
        fetched.place = self.consumer._thread.place

        async def wait_next_records(_: float) -> tuple[Fetched, set[TP]]:
            return fetched, {P0}

        self.consumer._wait_next_records = wait_next_records

    async def read(self) -> list[int]:
        """The offsets that are handed on."""
        return [message.offset async for _, message in self.consumer.getmany(timeout=1.0)]

    def resume(self) -> None:
        """The reading was set back, and the flow goes on."""
        self.consumer._sought = True
        self.consumer.resume_flow()


@pytest.fixture
async def stock() -> Bench:
    return Bench(StockConsumer)


@pytest.fixture
async def safe() -> Bench:
    return Bench(SafeConsumer)


# ── the four bugs ─────────────────────────────────────────────────────────────────────────────────


async def test_bug_a_a_commit_passes_one_event_in_flight(stock: Bench, safe: Bench) -> None:
    """Committed up to 10; 10 in flight, 11 to 19 done. Stock commits 20, and a crash loses 10."""
    for bench in (stock, safe):
        bench.committed_before(10)
        await bench.deliver(*range(10, 20))
        bench.ack(*range(11, 20))
    assert stock.commit() == 20
    assert safe.commit() is None
    safe.ack(10)
    assert safe.commit() == 20


async def test_bug_b_the_first_commit_passes_what_is_in_flight(stock: Bench, safe: Bench) -> None:
    """A new group: 0 to 2 in flight, 3 to 5 done. Stock commits 6."""
    for bench in (stock, safe):
        await bench.deliver(*range(6))
        bench.ack(3, 4, 5)
    assert stock.commit() == 6
    assert safe.commit() is None
    safe.ack(0)
    assert safe.commit() == 1
    safe.ack(1, 2)
    assert safe.commit() == 6


async def test_bug_c_the_message_after_a_gap_counts_as_gap(stock: Bench, safe: Bench) -> None:
    """A compacted topic: 11 to 14 are gone, 15 is in flight, 16 done. Stock commits 17."""
    for bench in (stock, safe):
        bench.committed_before(9)
        await bench.deliver(9, 10, 15, 16)
        bench.ack(9, 10, 16)
    assert stock.commit() == 17
    assert safe.commit() == 11
    safe.ack(15)
    assert safe.commit() == 17


async def test_bug_d_what_was_done_before_a_revoke_is_not_committed(stock: Bench, safe: Bench) -> None:
    """Events done since the last commit: stock forgets them first, and they are all delivered again."""
    for bench in (stock, safe):
        bench.committed_before(10)
        await bench.deliver(10, 11, 12)
        bench.ack(10, 11, 12)
        await drain_with(bench, acked=())
    assert stock.committed == {}
    assert safe.committed == {P0: 13}


async def test_bug_d_the_drain_of_a_revoke_passes_what_is_in_flight(stock: Bench, safe: Bench) -> None:
    """Of 10, 11 and 12 only 12 ends within the drain. Stock commits 13, and 10 and 11 are lost."""
    for bench in (stock, safe):
        bench.committed_before(10)
        await bench.deliver(10, 11, 12)
        await drain_with(bench, acked=(12,))
    assert stock.committed == {P0: 13}
    assert safe.committed == {}


async def test_bug_e_a_batch_that_arrives_as_the_flow_stops_is_dropped(stock: Bench, safe: Bench) -> None:
    """Stock drops it and seeks back; the broker is away, the seek fails, and the batch never comes again."""
    old, new = Reading(stock), Reading(safe)
    for reading in (old, new):
        reading.fetch(10, 11, 12)
        reading.consumer.stop_flow()
    assert (await old.read(), old.sought) == ([], 1)
    waiting = asyncio.ensure_future(new.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    new.resume()
    assert (await waiting, new.sought) == ([10, 11, 12], 0)


async def test_a_batch_from_before_the_reading_was_set_back_is_dropped(safe: Bench) -> None:
    """It will come again; handed on now, what lies before it would be passed by its commit."""
    reading = Reading(safe)
    reading.resume()
    reading.fetch(200, 201)
    safe.read_anew()
    assert await reading.read() == []
    reading.fetch(71, 72)
    assert await reading.read() == [71, 72]


async def test_the_flow_does_not_go_on_before_the_reading_was_set_back(safe: Bench) -> None:
    """Faust resumes it too early after an assignment, and clears what was delivered by then."""
    reading = Reading(safe)
    reading.resume()
    await reading.consumer.on_partitions_assigned({P0})
    reading.fetch(10)
    reading.consumer.resume_flow()
    waiting = asyncio.ensure_future(reading.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    reading.resume()
    assert await waiting == [10]


async def test_a_straggler_from_before_a_revoke_moves_no_commit(safe: Bench) -> None:
    """Its record is delivered again, and so are those before it."""
    consumer: Any = safe.consumer
    await safe.deliver(70)
    await consumer.on_partitions_revoked({P0})
    safe.messages[P0, 202] = straggler = safe._message(P0, 202)
    await consumer.callback(straggler)
    safe.ack(202)
    assert safe.commit() is None


async def drain_with(bench: Bench, *, acked: Iterable[int]) -> None:
    """Revoke the partition; meanwhile these events end, and Faust commits."""

    async def drain(_: set[TP]) -> None:
        bench.ack(*acked)
        bench.commit()

    bench.on_revoked = drain
    await bench.consumer.on_partitions_revoked({P0})


# ── the watermark ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(30))
async def test_a_commit_is_always_the_lowest_offset_in_flight(seed: int) -> None:
    """Any order of deliveries, acks and commits, with gaps: nothing in flight is passed or held back."""
    assert await passed_in_flight(Bench(SafeConsumer), seed, exact=True) == set()


async def test_the_stock_consumer_loses_events_in_the_same_runs() -> None:
    """What is below a commit and in flight is lost with the process: in nearly every run there is some."""
    losses = [await passed_in_flight(Bench(StockConsumer), seed) for seed in range(30)]
    assert sum(1 for lost in losses if lost) > 20


async def passed_in_flight(bench: Bench, seed: int, *, exact: bool = False) -> set[int]:
    """Return the events that some commit passed while they were in flight."""
    dice = random.Random(seed)
    if seed % 2:
        bench.committed_before(100)
    offset, in_flight, last, passed = 100, set[int](), None, set[int]()
    for _ in range(400):
        if dice.random() < 0.5:
            offset += 1 if dice.random() < 0.9 else dice.randint(2, 9)
            await bench.deliver(offset)
            in_flight.add(offset)
            last = offset
        elif in_flight:
            done = dice.choice(sorted(in_flight))
            in_flight.discard(done)
            bench.ack(done)
        committed = bench.commit()
        passed |= {each for each in in_flight if committed is not None and each < committed}
        if exact and committed is not None and not in_flight and last is not None:
            assert committed == last + 1
    if exact:
        assert len(bench.consumer._acked[P0]) <= offset - (bench.committed.get(P0) or 100) + 1
    return passed


async def test_partitions_are_counted_apart(safe: Bench) -> None:
    """A slow event holds back its own partition only."""
    await safe.deliver(0, 1)
    await safe.deliver(0, 1, tp=P1)
    safe.ack(1)
    safe.ack(0, 1, tp=P1)
    assert (safe.commit(), safe.commit(P1)) == (None, 2)


async def test_a_commit_that_was_not_made_is_offered_again(safe: Bench) -> None:
    """The broker was away, and no event has been acked since: the watermark must not be forgotten."""
    await safe.deliver(0, 1)
    safe.ack(0, 1)
    assert safe.consumer._new_offset(P0) == 2
    assert safe.consumer._new_offset(P0) == 2
    assert safe.commit() == 2


async def test_every_message_is_passed_on(safe: Bench) -> None:
    """Remembering them must not swallow any, not even one that is delivered twice."""
    await safe.deliver(0, 1, 1, 2)
    assert safe.passed_on == [0, 1, 1, 2]


async def test_after_a_seek_back_the_same_events_count_once_more(safe: Bench) -> None:
    """What was in flight is delivered again; the copies hold the commit until one of each is done."""
    safe.committed_before(10)
    await safe.deliver(10, 11, 12)
    safe.ack(11)

    async def seek_to_committed() -> dict[TP, int]:
        return {P0: 10}

    safe.consumer.seek_to_committed = seek_to_committed  # type: ignore[method-assign]
    await safe.consumer.perform_seek()
    safe.read_anew()
    await safe.deliver(10, 11, 12)
    safe.ack(12)
    assert safe.commit() is None
    safe.ack(10)
    assert safe.commit() == 13


async def test_after_a_reassignment_nothing_of_the_former_one_counts(safe: Bench) -> None:
    """Another member had the partition meanwhile; its commits decide where it goes on."""
    safe.committed_before(10)
    await safe.deliver(10, 11, 12)
    safe.ack(12)
    await safe.consumer.on_partitions_revoked({P0})
    assert isinstance(safe.consumer, SafeConsumer)
    assert not safe.consumer._delivered[P0]
    safe.committed.clear()
    safe.committed_before(20)
    await safe.deliver(20, 21)
    assert safe.commit() is None
    safe.ack(20)
    assert safe.commit() == 21


async def test_a_late_ack_after_a_revoke_commits_nothing(safe: Bench) -> None:
    """The event outlived the drain: its partition is somebody else's now."""
    await safe.deliver(0, 1)
    await safe.consumer.on_partitions_revoked({P0})
    safe.ack(1)
    assert safe.commit() is None


async def test_acks_leave_no_trace_once_they_are_committed(safe: Bench) -> None:
    """A worker runs for months."""
    for offset in range(5_000):
        await safe.deliver(offset)
        safe.ack(offset)
    safe.commit()
    consumer = safe.consumer
    assert isinstance(consumer, SafeConsumer)
    sizes = (consumer._delivered, consumer._acked, consumer._acked_index, consumer._gap)
    assert [len(each[P0]) for each in sizes] == [0, 0, 0, 0]


async def test_the_drain_ends_though_an_event_does_not(safe: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is delivered again elsewhere; Faust would wait for ever."""
    monkeypatch.setattr(SafeConsumer, "revoke_drain_s", 0.0)
    commits: list[bool] = []

    async def commit(*_: Any, **__: Any) -> bool:
        commits.append(True)
        return True

    safe.consumer.commit = commit  # type: ignore[method-assign]
    await safe.deliver(0)
    await safe.consumer.wait_empty()
    assert len(commits) >= 2
    assert list(safe.consumer.unacked) == [safe.messages[P0, 0]]


async def test_a_drain_says_that_it_begins(safe: Bench) -> None:
    """So that what only waits for a time of day can be handed back at once."""

    async def commit(*_: Any, **__: Any) -> bool:
        return True

    safe.consumer.commit = commit  # type: ignore[method-assign]
    consumer: Any = safe.consumer
    await safe.deliver(0, 1)
    consumer.on_drain = lambda: [consumer.hand_back(safe.messages[P0, offset]) for offset in (0, 1)]
    async with asyncio.timeout(10):  # of 40 that a drain may take
        await consumer.wait_empty()
    assert not consumer.unacked
    assert safe.commit() is None


class _State:
    """What aiokafka knows of a partition."""

    highwater = 20
    timestamp = 7
    _position = 14


class _Assignment:
    tps = frozenset({P0})

    def state_value(self, _: TP) -> _State:
        return _State()


async def test_standings_say_what_is_committed_and_what_could_be(safe: Bench) -> None:
    """Without a round trip: from the consumer's own books."""
    consumer: Any = safe.consumer
    assert consumer.partition_progress() == ()
    consumer._thread._consumer = SimpleNamespace(
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=_Assignment()))
    )
    safe.committed_before(10)
    await safe.deliver(10, 11, 12, 13)
    safe.ack(10, 11, 13)
    (standing,) = consumer.partition_progress()
    assert standing == PartitionProgress(
        topic="t",
        partition=0,
        committed=10,
        committable=12,
        position=14,
        highwater=20,
        in_hand=1,
        fetched_at_ms=7,
    )
    assert standing.lag == 10
    safe.commit()
    (standing,) = consumer.partition_progress()
    assert (standing.committed, standing.committable, standing.lag) == (12, 12, 8)


def test_the_scheme_leads_to_our_transport() -> None:
    """Registered by name, as Faust looks transports up by their broker's scheme."""
    transport.register()
    app = faust.App("scheme", broker="headrace://127.0.0.1:1", set_as_current=False, autodiscover=False)
    assert isinstance(app.transport, Transport)
    assert app.transport.Consumer is SafeConsumer

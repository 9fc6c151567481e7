"""Which offset may be committed: deliveries and ends in any order, with holes in the offsets.

A to C are the bugs of Faust 0.15.3's consumer that docs/decisions/0001-group-consumer.md describes: each test
has the situation in which it loses a record.
"""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from agents.runner.assignment import Assignment, PartitionOffsets, PartitionProgress

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def offsets(*delivered: int, done: tuple[int, ...] = ()) -> PartitionOffsets:
    found = PartitionOffsets()
    for offset in delivered:
        found.deliver(offset)
    for offset in done:
        found.done(offset)
    return found


def record(offset: int, at: TopicPartition = P0) -> Any:
    return SimpleNamespace(topic=at.topic, partition=at.partition, offset=offset)


def assignment(*partitions: TopicPartition) -> Assignment:
    state = SimpleNamespace(highwater=20, timestamp=7, _position=14)
    source = SimpleNamespace(tps=frozenset(partitions or (P0,)), state_value=lambda _: state)
    return Assignment(source, generation=1, member_id="m")


def test_bug_a_a_commit_does_not_pass_one_record_in_flight() -> None:
    """10 is in flight, 11 to 19 are done. Faust commits 20, and a crash loses 10."""
    found = offsets(*range(10, 20), done=tuple(range(11, 20)))
    assert found.committable is None
    found.done(10)
    assert found.committable == 20


def test_bug_b_the_first_commit_does_not_pass_what_is_in_flight() -> None:
    """A new group: 0 to 2 in flight, 3 to 5 done. Faust commits 6."""
    found = offsets(*range(6), done=(3, 4, 5))
    assert found.committable is None
    found.done(0)
    assert found.committable == 1
    found.done(2)
    assert found.committable == 1
    found.done(1)
    assert found.committable == 6


def test_bug_c_the_record_after_a_hole_is_not_part_of_the_hole() -> None:
    """A compacted topic: 11 to 14 are gone, 15 is in flight, 16 done. Faust commits 17."""
    found = offsets(9, 10, 15, 16, done=(9, 10, 16))
    assert found.committable == 11
    found.done(15)
    assert found.committable == 17


@pytest.mark.parametrize("seed", range(30))
def test_the_commit_is_always_the_lowest_offset_in_flight(seed: int) -> None:
    """Any order of deliveries and ends, with holes: nothing in flight is passed or held back."""
    dice = random.Random(seed)
    found, offset, in_flight, done = PartitionOffsets(), 100, set[int](), set[int]()
    for _ in range(400):
        if dice.random() < 0.5:
            offset += 1 if dice.random() < 0.9 else dice.randint(2, 9)
            found.deliver(offset)
            in_flight.add(offset)
        elif in_flight:
            ended = dice.choice(sorted(in_flight))
            in_flight.discard(ended)
            done.add(ended)
            found.done(ended)
        below = [each for each in done if not in_flight or each < min(in_flight)]
        assert found.committable == (max(below) + 1 if below else None)
        assert found.in_hand == len(in_flight)


def test_ends_leave_no_trace() -> None:
    """A worker runs for months."""
    found = offsets(*range(5_000), done=tuple(range(5_000)))
    assert (len(found._delivered), len(found._done)) == (0, 0)


def test_partitions_are_counted_apart() -> None:
    """A slow record holds back its own partition only."""
    found = assignment(P0, P1)
    batch = found.deliver({P0: [record(0), record(1)], P1: [record(0, P1), record(1, P1)]})
    for each in batch.records:
        if (each.partition, each.offset) != (0, 0):
            found.begin()
            found.end(each, done=True)
    assert found.committable() == {P1: 2}


def test_a_record_that_is_not_done_holds_the_commit_and_no_drain() -> None:
    """Another worker works on it. It must be delivered again if that one dies."""
    found = assignment()
    for each in found.deliver({P0: [record(0), record(1)]}).records:
        found.begin()
        found.end(each, done=each.offset == 1)
    assert found.committable() == {}
    assert found._idle.is_set()


def test_a_commit_that_was_not_made_is_offered_again() -> None:
    """The broker was away, and no record has ended since."""
    found = assignment()
    (only,) = found.deliver({P0: [record(0)]}).records
    found.begin()
    found.end(only, done=True)
    assert found.committable() == found.committable() == {P0: 1}
    found.committed({P0: 1})
    assert found.committable() == {}


def test_progress_says_what_is_committed_and_what_could_be() -> None:
    """Without a round trip: from the consumer's own knowledge."""
    found = assignment()
    for each in found.deliver({P0: [record(offset) for offset in (10, 11, 12, 13)]}).records:
        found.begin()
        if each.offset != 12:
            found.end(each, done=True)
    (progress,) = found.progress()
    assert progress == PartitionProgress(
        topic="t",
        partition=0,
        committed=10,
        committable=12,
        position=14,
        highwater=20,
        in_hand=1,
        fetched_at_ms=7,
    )
    assert progress.lag == 10
    found.committed(found.committable())
    (progress,) = found.progress()
    assert (progress.committed, progress.committable, progress.lag) == (12, 12, 8)

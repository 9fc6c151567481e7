"""Offsets and commits as brokers tell them."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import TopicPartition

from streams.errors import KafkaUnavailable
from streams.kafka.inspector import check_answered
from tests.analytics.broker import Broker


@pytest.fixture
async def broker(kafka_bootstrap: str) -> AsyncIterator[Broker]:
    """The run's broker, and a connection that asks it."""
    broker = Broker(kafka_bootstrap)
    # The first group ever makes the broker create the topic of all groups' offsets, which takes a moment.
    await broker.commit("a-group", await broker.topic("first"), 0, 0)
    yield broker
    await broker.inspector.close()


@pytest.mark.integration
@pytest.mark.parametrize("turns", [1, 3, 10])
async def test_a_question_that_is_given_up_spoils_no_later_one(broker: Broker, turns: int) -> None:
    """Not even the first one, which connects."""
    topic = await broker.topic("source")
    await broker.write(topic, b"1")
    for question in (
        broker.inspector.partitions([topic]),
        broker.inspector.end_offsets([TopicPartition(topic, 0)]),
    ):
        asking = asyncio.ensure_future(question)
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
    partitions = await broker.inspector.partitions([topic])
    assert partitions == [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    assert await broker.inspector.end_offsets(partitions) == {partitions[0]: 1, partitions[1]: 0}


@pytest.mark.integration
async def test_what_a_group_has_not_committed_is_left_out(broker: Broker) -> None:
    """And so is all of a group that never was. Nothing asked is nothing answered."""
    topic, group = await broker.topic("source"), f"group-{uuid4().hex[:8]}"
    first, second = (TopicPartition(topic, number) for number in range(2))
    assert await broker.inspector.committed_offsets(group, [first, second]) == {}
    await broker.commit(group, topic, 3)
    assert await broker.inspector.committed_offsets(group, [first, second]) == {first: 3}
    assert await broker.inspector.committed_offsets(group, [second]) == {}
    assert await broker.inspector.committed_offsets(group, []) == {}


@pytest.mark.integration
async def test_reading_ends_at_the_given_offsets_and_can_begin_again(broker: Broker) -> None:
    """Partitions of different lengths, and other partitions afterwards, on one connection."""
    topic, kafka = await broker.topic("source"), broker.inspector
    first, second = (TopicPartition(topic, number) for number in range(2))
    await broker.write(topic, *(b"%d" % number for number in range(5)))
    await broker.write(topic, b"x", partition=1)

    async def values(begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> list[bytes]:
        return sorted([record.value async for record in kafka.read_between(begins, ends)])

    assert await values({first: 0, second: 0}, {first: 4, second: 1}) == [b"0", b"1", b"2", b"3", b"x"]
    assert await values({first: 4}, {first: 5}) == [b"4"]
    assert await values({first: 2, second: 0}, {first: 4, second: 1}) == [b"2", b"3", b"x"]
    assert await values({first: 5}, {first: 5}) == []


HERE, THERE = TopicPartition("logs", 0), TopicPartition("logs", 1)


def test_a_broker_that_leaves_partitions_out_has_not_answered() -> None:
    """It is still reading the commits, or another one has them: that is not that there are none."""
    check_answered("g", [HERE, THERE], {HERE: -1, THERE: 7})
    check_answered("g", [], {})
    with pytest.raises(KafkaUnavailable, match="what g has committed"):
        check_answered("g", [HERE, THERE], {})
    with pytest.raises(KafkaUnavailable, match="what g has committed"):
        check_answered("g", [HERE, THERE], {HERE: 3})

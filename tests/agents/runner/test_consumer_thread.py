"""The way back to what is committed, on a real broker."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from agents.runner.consumer_thread import ConsumerThread
from streams.kafka.topic_admin import create_topics
from streams.publisher import Emit, Publisher

pytestmark = pytest.mark.integration


async def read(consumer: AIOKafkaConsumer, count: int) -> list[int]:
    """Return the offsets of the next records."""
    offsets: list[int] = []
    while len(offsets) < count:
        batches = await consumer.getmany(timeout_ms=10_000)
        assert batches, offsets
        offsets += [record.offset for records in batches.values() for record in records]
    return offsets


def thread_of(consumer: AIOKafkaConsumer) -> Any:
    """A consumer's thread, without the thread: everything runs in this loop."""
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread._consumer = consumer
    thread.consumer = SimpleNamespace(flow_active=True)
    return thread


async def test_a_partition_without_a_commit_is_read_from_its_start_again(kafka_bootstrap: str) -> None:
    """A fresh group: aiokafka's own way back leaves such a partition where it is, and 0 to 4 are lost."""
    topic = f"back-{uuid.uuid4().hex}"
    await create_topics(kafka_bootstrap, partitions=2, replication=1, topics=(), extra=[topic])
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        async with asyncio.timeout(10):
            while not await publisher.has(topic):
                await asyncio.sleep(0.05)
        for partition in (0, 1):
            for number in range(5):
                emit = Emit(topic=topic, key=None, value=b"%d" % number, partition=partition)
                await publisher.publish(emit)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap,
        group_id=f"group-{uuid.uuid4().hex}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    consumer.subscribe([topic])
    await consumer.start()
    try:
        assert sorted(await read(consumer, 10)) == sorted([0, 1, 2, 3, 4] * 2)
        await consumer.commit({TopicPartition(topic, 1): 3})

        await consumer.seek_to_committed()
        assert await read(consumer, 2) == [3, 4]

        thread = thread_of(consumer)
        before = thread.place
        assert await thread._go_back() == {TopicPartition(topic, 0): None, TopicPartition(topic, 1): 3}
        assert not thread.place.is_same(before)
        fetched = await thread._fetch_records(consumer, None, timeout=1000, max_records=500)
        assert fetched.place.is_same(thread.place)
        offsets = [record.offset for records in fetched.values() for record in records]
        while len(offsets) < 7:
            offsets += await read(consumer, 1)
        assert sorted(offsets) == [0, 1, 2, 3, 3, 4, 4]
    finally:
        await consumer.stop()

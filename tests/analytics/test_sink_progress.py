"""How far the sinks are, on a real broker."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from analytics.lags import SinkProgress
from streams.errors import KafkaUnavailable
from streams.kafka.topic_admin import create_topics
from streams.topics import Topic

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = timedelta(minutes=1)


class Bench:
    """A topic of two partitions, its sink's group, and what is asked of both."""

    def __init__(self, bootstrap: str, topic: str, progress: SinkProgress) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.progress = progress

    async def write(self, *minutes_ago: int) -> None:
        """Write a record to each partition at each of these times."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap)
        await producer.start()
        for ago in minutes_ago:
            at_ms = int((NOW - ago * MINUTE).timestamp() * 1000)
            for partition in range(2):
                await producer.send_and_wait(self._topic, b"{}", partition=partition, timestamp_ms=at_ms)
        await producer.stop()

    async def commit(self, *offsets: int) -> None:
        """Commit as the sink would."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=self._topic, enable_auto_commit=False
        )
        await consumer.start()
        places = [TopicPartition(self._topic, number) for number in range(len(offsets))]
        consumer.assign(places)
        await consumer.commit(dict(zip(places, offsets, strict=True)))
        await consumer.stop()


@pytest.fixture
async def bench(kafka_bootstrap: str) -> AsyncIterator[Bench]:
    """A fresh topic."""
    name = f"logs-{uuid4().hex[:8]}"
    await create_topics(kafka_bootstrap, partitions=2, replication=1, topics=[Topic(name=name, event=None)])
    progress = SinkProgress(kafka_bootstrap, topic=name, group=name, timeout_s=20)
    yield Bench(kafka_bootstrap, name, progress)
    await progress.close()


async def test_an_empty_topic_is_stored(bench: Bench) -> None:
    """Nothing is behind, and nothing is old."""
    assert await bench.progress.lag() == 0
    assert await bench.progress.stored_before(NOW)
    assert await bench.progress.oldest_s(NOW, at_least=MINUTE) == 0


async def test_what_is_not_committed_is_not_stored(bench: Bench) -> None:
    """Without any commit it is everything; the slowest partition decides until when all is stored."""
    await bench.write(60, 30, 10)
    assert await bench.progress.lag() == 6
    assert not await bench.progress.stored_before(NOW)
    assert await bench.progress.stored_before(NOW - 61 * MINUTE)
    await bench.commit(3, 1)
    assert await bench.progress.lag() == 2
    assert await bench.progress.stored_before(NOW - 31 * MINUTE)
    assert await bench.progress.stored_before(NOW - 30 * MINUTE)
    assert not await bench.progress.stored_before(NOW - 29 * MINUTE)
    await bench.commit(3, 3)
    assert await bench.progress.lag() == 0
    assert await bench.progress.stored_before(NOW + MINUTE)


async def test_the_age_of_the_oldest_is_known_to_a_factor_of_two(bench: Bench) -> None:
    """An hour is between 40 and 80 minutes; a record younger than asked for has no age."""
    await bench.write(60)
    assert await bench.progress.oldest_s(NOW, at_least=5 * MINUTE) == 40 * 60
    assert await bench.progress.oldest_s(NOW, at_least=90 * MINUTE) == 0


async def test_without_a_broker_it_says_so() -> None:
    """In time, and as a fault that can be waited out."""
    progress = SinkProgress("127.0.0.1:1", topic="none", group="none", timeout_s=2)
    with pytest.raises(KafkaUnavailable):
        await progress.lag()
    await progress.close()

"""Topics of a test's own on the run's broker, and what the test writes to them."""

from collections.abc import Sequence
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.kafka.inspector import KafkaInspector
from streams.kafka.topic_admin import create_topics
from streams.topics import Topic


class Broker:
    """The run's broker, with topics of two partitions.

    Args:
        bootstrap: where it is.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.inspector = KafkaInspector(bootstrap, client_id="headrace.live.test", timeout_s=20)

    async def topic(self, name: str) -> str:
        """Make a topic and return its name."""
        full = f"{name}-{uuid4().hex[:8]}"
        await create_topics(
            self.bootstrap, partitions=2, replication=1, topics=[Topic(name=full, event=None)]
        )
        return full

    async def write(
        self,
        topic: str,
        *values: bytes,
        partition: int = 0,
        at_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Write records to one partition."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        for value in values:
            await producer.send_and_wait(
                topic, value, partition=partition, timestamp_ms=at_ms, headers=list(headers)
            )
        await producer.stop()

    async def commit(self, group: str, topic: str, *offsets: int) -> None:
        """Commit as a stage would."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        places = [TopicPartition(topic, number) for number in range(len(offsets))]
        consumer.assign(places)
        await consumer.commit(dict(zip(places, offsets, strict=True)))
        await consumer.stop()

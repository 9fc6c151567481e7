"""The reader of feedback on a real broker and a real engine: nothing lost, nothing twice, nobody held up."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.clickhouse import ClickHouse
from analytics.feedback.consumer import FeedbackConsumer, ScoreWriter
from analytics.feedback.pending_feedback import PendingLimits, PendingRecord
from analytics.sink.consumer import ConsumerConfig
from analytics.status import FeedbackStatus
from streams.codec import encode
from streams.kafka.inspector import KafkaInspector
from streams.kafka.topic_admin import create_topics
from streams.topics import Topic
from tests.analytics.feedback.given import Known, Letters, Stored, feedback
from tests.analytics.logs import make_log
from tests.analytics.proxy import Proxy
from tests.analytics.sink.test_sink import until, until_async
from tests.analytics.stored_logs import store

pytestmark = pytest.mark.integration

PARTITIONS = 2


@dataclass
class Stand:
    """A topic of its own, the database, and what the reader needs besides."""

    bootstrap: str
    topic: str
    producer: AIOKafkaProducer
    clickhouse: ClickHouse
    letters: Letters = field(default_factory=Letters)

    def reader(
        self,
        *,
        status: FeedbackStatus,
        clickhouse: ClickHouse | None = None,
        writer: type[ScoreWriter] = ScoreWriter,
        instance_id: str = "analytics-0",
        **limits: Any,
    ) -> FeedbackConsumer:
        config = ConsumerConfig(
            bootstrap=self.bootstrap,
            topic=self.topic,
            instance_id=instance_id,
            group=f"group.{self.topic}",
        )
        settles = writer(
            clickhouse or self.clickhouse,
            self.letters,  # type: ignore[arg-type]  # it only publishes
            Stored(),
            status,
            erasures=Known(),
            sink_margin_s=0.5,
        )
        return FeedbackConsumer(config, PendingLimits(**{"wait_s": 600, **limits}), settles, status)

    async def say(self, request_ids: Iterable[str], **fields: Any) -> None:
        for request_id in request_ids:
            value = encode(feedback(request_id, **fields))
            await self.producer.send_and_wait(self.topic, value, key=request_id.encode(), partition=0)

    async def scores(self) -> list[tuple[str, int]]:
        rows = await self.clickhouse.query("SELECT request_id, value FROM scores ORDER BY request_id")
        return [(row["request_id"], int(row["value"])) for row in rows]

    async def committed(self) -> int:
        """The offset that the group goes on from, in the partition that the tests use."""
        offsets = KafkaInspector(self.bootstrap, client_id="test", timeout_s=10)
        try:
            found = await offsets.commits(f"group.{self.topic}", [TopicPartition(self.topic, 0)])
        finally:
            await offsets.close()
        return int(found.get(TopicPartition(self.topic, 0), OffsetAndMetadata(-1, "")).offset)


@pytest.fixture
async def stand(kafka_bootstrap: str, clickhouse: ClickHouse) -> AsyncIterator[Stand]:
    """Kafka and ClickHouse with what the test needs in them."""
    topic = f"feedback-{uuid4().hex[:8]}"
    await create_topics(
        kafka_bootstrap, partitions=PARTITIONS, replication=1, topics=[Topic(name=topic, event=None)]
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    try:
        yield Stand(kafka_bootstrap, topic, producer, clickhouse)
    finally:
        await producer.stop()


@asynccontextmanager
async def running(reader: FeedbackConsumer) -> AsyncIterator[asyncio.Task[None]]:
    """Run the reader; stop it in good order at the end, unless the test has ended it by then."""
    stop = asyncio.Event()
    task = asyncio.create_task(reader.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


async def test_feedback_becomes_scores_and_is_committed_after_them(stand: Stand) -> None:
    """All of it; at the end nothing waits."""
    await store(stand.clickhouse, [make_log(f"r-{number}") for number in range(50)])
    status = FeedbackStatus()
    async with running(stand.reader(status=status)):
        await stand.say(f"r-{number}" for number in range(50))
        await until(lambda: status.scores == 50 and status.waiting == 0)
    assert await stand.scores() == sorted((f"r-{number}", 1) for number in range(50))
    assert await stand.committed() == 50
    assert stand.letters.sent == []


async def test_one_that_waits_holds_up_nobody_and_is_not_committed_past(stand: Stand) -> None:
    """Those behind it are scores at once. It comes again after a restart, until its request is there."""
    await store(stand.clickhouse, [make_log("r-1"), make_log("r-3")])
    status = FeedbackStatus()
    async with running(stand.reader(status=status)):
        await stand.say(["r-1", "r-2", "r-3"])
        await until(lambda: status.scores == 2)
    assert await stand.scores() == [("r-1", 1), ("r-3", 1)]
    assert await stand.committed() == 1

    status = FeedbackStatus()
    async with running(stand.reader(status=status)):
        await until(lambda: status.records == 2 and status.waiting == 1)
        await store(stand.clickhouse, [make_log("r-2")])
        await until(lambda: status.waiting == 0)
    assert await stand.scores() == [("r-1", 1), ("r-2", 1), ("r-3", 1)]
    assert await stand.committed() == 3
    assert stand.letters.sent == []


class DiesAfterTheInsert(ScoreWriter):
    """A writer whose process is gone when everything is stored and nothing is committed."""

    stored = False

    async def settle(self, entries: Any, *, overdue: Any) -> list[PendingRecord]:
        await super().settle(entries, overdue=overdue)
        DiesAfterTheInsert.stored = True
        await asyncio.Event().wait()
        return []


async def test_a_process_that_dies_after_the_insert_has_scored_once(stand: Stand) -> None:
    """Its successor settles the same again, and what was corrected meanwhile stays corrected."""
    await store(stand.clickhouse, [make_log(f"r-{number}") for number in range(20)])
    await stand.say(f"r-{number}" for number in range(20))
    async with running(stand.reader(status=FeedbackStatus(), writer=DiesAfterTheInsert)) as task:
        await until(lambda: DiesAfterTheInsert.stored)
        task.cancel()
    assert await stand.committed() == 0
    await stand.say(["r-7"], label="down")
    status = FeedbackStatus()
    async with running(stand.reader(status=status)):
        await until(lambda: status.scores == 21 and status.waiting == 0)
    assert await stand.scores() == sorted((f"r-{number}", int(number != 7)) for number in range(20))
    assert await stand.committed() == 21


async def test_what_nobody_knows_is_given_up_in_the_end(stand: Stand) -> None:
    """After the wait it is a dead letter, and the group goes on behind it."""
    status = FeedbackStatus()
    async with running(stand.reader(status=status, wait_s=1)):
        await stand.say(["nobodys"])
        await until(lambda: status.dead_letters == 1 and status.waiting == 0)
    assert "has no request nobodys" in stand.letters.reasons[0]
    assert await stand.committed() == 1


async def test_a_full_room_stops_reading_and_loses_nothing(stand: Stand) -> None:
    """What does not fit waits in Kafka; ids that nobody knows are given up sooner."""
    await store(stand.clickhouse, [make_log("known")])
    status = FeedbackStatus()
    await stand.say(f"nobodys-{number}" for number in range(3_000))
    await stand.say(["known"])
    async with running(stand.reader(status=status, records=1_000, crowded_wait_s=0.5)):
        await until(lambda: status.scores == 1 and status.waiting <= 1_000)
        assert status.dead_letters >= 1_000
    assert await stand.scores() == [("known", 1)]


async def test_an_outage_of_clickhouse_is_waited_out(
    stand: Stand, clickhouse_url: str, schema_database: str
) -> None:
    """It is said, nothing is given up or committed past, and afterwards it is all there."""
    await store(stand.clickhouse, [make_log(f"r-{number}") for number in range(30)])
    status = FeedbackStatus()
    async with Proxy(clickhouse_url) as proxy:
        connection = ClickHouse(proxy.url, database=schema_database, timeout_s=5)
        async with running(stand.reader(status=status, clickhouse=connection, wait_s=1)):
            await stand.say(f"r-{number}" for number in range(10))
            await until(lambda: status.scores == 10)
            await proxy.cut()
            await stand.say(f"r-{number}" for number in range(10, 30))
            await until(lambda: "clickhouse" in status.outages)
            partitions = status.partitions
            await until(lambda: status.waiting == 20)
            await proxy.mend()
            await until(lambda: status.waiting == 0)
            assert (status.outages, status.partitions) == ({}, partitions)
        await connection.close()
    assert len(await stand.scores()) == 30
    assert stand.letters.sent == []


async def test_partitions_that_move_lose_nothing(stand: Stand) -> None:
    """A second replica joins while some wait, and leaves again."""
    statuses = [FeedbackStatus(), FeedbackStatus()]
    readers = [
        stand.reader(status=status, instance_id=f"analytics-{number}")
        for number, status in enumerate(statuses)
    ]
    await store(stand.clickhouse, [make_log(f"r-{number}") for number in range(0, 60, 2)])
    async with running(readers[0]):
        await stand.say(f"r-{number}" for number in range(30))
        await until(lambda: statuses[0].scores >= 15)
        async with running(readers[1]):
            await until(lambda: statuses[1].partitions > 0)
            await stand.say(f"r-{number}" for number in range(30, 60))
        await store(stand.clickhouse, [make_log(f"r-{number}") for number in range(1, 60, 2)])

        async def complete() -> bool:
            return len(await stand.scores()) == 60 and await stand.committed() == 60

        await until_async(complete)
    assert stand.letters.sent == []

"""The sink on a real broker and a real engine: nothing lost, nothing twice, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from msgspec.structs import replace
from structlog.testing import capture_logs

from analytics.clickhouse import ClickHouse
from analytics.sink.batches import BatchLimits, SinkBatch
from analytics.sink.consumer import SinkConfig
from analytics.sink.sink import Sink
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.codec import encode
from streams.kafka.inspector import KafkaInspector
from streams.kafka.topic_admin import create_topics
from streams.publisher import Publisher
from streams.topics import DEAD_LETTERS, MAX_KEPT_BYTES, Topic
from tests.analytics.logs import make_log
from tests.analytics.proxy import Proxy

pytestmark = pytest.mark.integration

PARTITIONS = 4
COST = Decimal("0.000700001")
HEADERS = [("ce_id", b"e-7"), ("ce_id", b"e-8")]


@dataclass(frozen=True)
class Stand:
    """A topic of its own, the database, and all that a sink between them needs."""

    bootstrap: str
    topic: str
    producer: AIOKafkaProducer
    publisher: Publisher
    clickhouse: ClickHouse

    def config(self, *, instance_id: str = "sink-0", rows: int = 10_000) -> SinkConfig:
        return SinkConfig(
            bootstrap=self.bootstrap,
            topic=self.topic,
            instance_id=instance_id,
            group=f"group.{self.topic}",
            batch=BatchLimits(rows=rows, bytes=16_000_000, seconds=0.1, busy_seconds=0.5),
        )

    def writer(self, status: SinkStatus) -> BatchWriter:
        return BatchWriter(self.clickhouse, self.publisher, status)

    async def produce(self, names: Iterable[str], *, partition: int | None = None) -> None:
        sends = [
            await self.producer.send(
                self.topic, encode(make_log(name, cost_usd=COST)), key=name.encode(), partition=partition
            )
            for name in names
        ]
        await asyncio.gather(*sends)

    async def committed(self) -> list[OffsetAndMetadata]:
        offsets = KafkaInspector(self.bootstrap, client_id="test", timeout_s=10)
        try:
            found = await offsets.commits(
                f"group.{self.topic}", [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
            )
        finally:
            await offsets.close()
        return [commit for commit in found.values() if commit.offset >= 0]

    async def dead_letters(self, count: int) -> list[ConsumerRecord]:
        """The dead letters of this topic's records."""
        consumer = AIOKafkaConsumer(
            DEAD_LETTERS.name, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        found: list[ConsumerRecord] = []
        try:
            async with asyncio.timeout(30):
                while len(found) < count:
                    letter = await consumer.getone()
                    if dict(letter.headers).get("__streams.errors.topic") == self.topic.encode():
                        found.append(letter)
        finally:
            await consumer.stop()
        return found


@pytest.fixture
async def stand(kafka_bootstrap: str, clickhouse: ClickHouse) -> AsyncIterator[Stand]:
    """Kafka and ClickHouse with what the test needs in them."""
    topic = f"logs-{uuid4().hex[:8]}"
    await create_topics(
        kafka_bootstrap,
        partitions=PARTITIONS,
        replication=1,
        topics=[Topic(name=topic, event=None), DEAD_LETTERS],
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, linger_ms=5)
    await producer.start()
    try:
        async with Publisher(kafka_bootstrap, client_id="test") as publisher:
            yield Stand(kafka_bootstrap, topic, producer, publisher, clickhouse)
    finally:
        await producer.stop()


@asynccontextmanager
async def running(sink: Sink) -> AsyncIterator[asyncio.Task[None]]:
    """Run the sink; stop it in good order at the end, unless the test has ended it by then."""
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


async def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    async def asked() -> bool:
        return condition()

    await until_async(asked, timeout_s=timeout_s)


async def until_async(condition: Callable[[], Awaitable[bool]], *, timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def sums(clickhouse: ClickHouse, *, raw: bool = False) -> dict[str, object]:
    suffix = "_raw" if raw else ""
    [row] = await clickhouse.query(
        f"SELECT (SELECT count() FROM requests{suffix}) AS requests, "
        f"(SELECT sum(cost_usd) FROM requests{suffix}) AS usd, "
        f"(SELECT count() FROM stages{suffix}) AS stages, "
        f"(SELECT count() FROM llm_calls{suffix}) AS calls"
    )
    return row


def once(requests: int) -> dict[str, object]:
    return {"requests": requests, "usd": COST * requests, "stages": 5 * requests, "calls": requests}


async def test_records_become_rows_and_offsets_are_committed_after_them(stand: Stand) -> None:
    """From all partitions; at the end the commits say that nothing is announced or open."""
    status = SinkStatus()
    sink = Sink(stand.config(), stand.writer(status), status)
    await stand.produce(f"r-{number}" for number in range(500))
    async with running(sink):
        await until(lambda: status.records == 500)
        await stand.produce(["later"])
        await until(lambda: status.records == 501 and status.lag_records == 0)
    assert await sums(stand.clickhouse) == once(501)
    commits = await stand.committed()
    assert sum(commit.offset for commit in commits) == 501
    assert {commit.metadata for commit in commits} == {""}
    assert status.partitions == PARTITIONS
    assert status.behind_s == 0.0


async def test_a_backlog_larger_than_the_memory_does_not_wait_for_its_time(stand: Stand) -> None:
    """Room for two batches, four partitions, and ten minutes' patience: whole batches are written all along.

    Were the room shared out evenly, no partition would ever have a whole batch, and each would wait.
    """
    record_bytes = len(encode(make_log("r-0-000", cost_usd=COST))) + len(b"r-0-000")
    config = replace(
        stand.config(),
        batch=BatchLimits(rows=10_000, bytes=25 * record_bytes, seconds=600, busy_seconds=600),
        buffer_bytes=50 * record_bytes,
    )
    for partition in range(PARTITIONS):
        names = (f"r-{partition}-{number:03d}" for number in range(200))
        await stand.produce(names, partition=partition)
    status = SinkStatus()
    async with running(Sink(config, stand.writer(status), status)):
        await until(lambda: status.records > 800 - 50)
        assert status.batches >= 30
    assert await sums(stand.clickhouse, raw=True) == once(800)


class DiesAfterTheInsert(BatchWriter):
    """A writer whose process is gone when everything is inserted and nothing is committed."""

    inserted: SinkBatch | None = None

    async def write(self, batch: SinkBatch) -> None:
        await super().write(batch)
        self.inserted = batch
        await asyncio.Event().wait()


async def test_a_batch_that_was_inserted_but_not_committed_is_repeated_exactly(stand: Stand) -> None:
    """The successor has other limits and finds more records, and still writes the announced range first.

    Its inserts are recognised: not even the raw tables have a row twice.
    """
    await stand.produce((f"r-{number}" for number in range(300)), partition=1)
    status = SinkStatus()
    dying = DiesAfterTheInsert(stand.clickhouse, stand.publisher, status)
    async with running(Sink(stand.config(rows=120), dying, status)) as task:
        await until(lambda: dying.inserted is not None)
        task.cancel()
    assert dying.inserted is not None
    announced = str(dying.inserted.range)
    assert await stand.committed() == [OffsetAndMetadata(0, announced)]
    assert await sums(stand.clickhouse, raw=True) == once(len(dying.inserted.records))

    await stand.produce((f"s-{number}" for number in range(50)), partition=1)
    status = SinkStatus()
    writer = stand.writer(status)
    async with running(Sink(stand.config(rows=1_000), writer, status)):
        await until(lambda: status.records == 350)
    assert status.replayed_batches == 1
    assert await sums(stand.clickhouse, raw=True) == once(350)
    assert await sums(stand.clickhouse) == once(350)


async def test_bad_records_go_to_the_dead_letters_and_the_others_go_on(stand: Stand) -> None:
    """No JSON, no log record, a value that does not fit, and a row that the server refuses: each with why."""
    bad = {
        b"no-json": b"\xff{",
        b"no-log": b'{"request_id": "x"}',
        b"no-fit": encode(make_log("no-fit", output_tokens=2**40)),
        b"refused": encode(make_log("")),
    }
    await stand.produce(f"before-{number}" for number in range(40))
    for key, value in bad.items():
        await stand.producer.send_and_wait(stand.topic, value, key=key, headers=HEADERS)
    await stand.produce(f"after-{number}" for number in range(40))
    status = SinkStatus()
    sink = Sink(stand.config(), stand.writer(status), status)
    async with running(sink):
        await until(lambda: status.records == 84)
    assert status.dead_letters == 4
    [row] = await stand.clickhouse.query("SELECT count() AS n, sum(cost_usd) AS usd FROM requests")
    assert (row["n"], row["usd"]) == (80, 80 * COST)

    letters = await stand.dead_letters(len(bad))
    assert {letter.key: letter.value for letter in letters} == bad
    for letter in letters:
        assert list(letter.headers[:2]) == HEADERS
        reason = dict(letter.headers[2:])
        assert reason["__streams.errors.topic"] == stand.topic.encode()
        assert reason["__streams.errors.stage"] == b"analytics"
        assert int(reason["__streams.errors.offset"]) >= 0
        assert 0 <= int(reason["__streams.errors.partition"]) < PARTITIONS
    reasons = {letter.key: dict(letter.headers)["__streams.errors.message"].decode() for letter in letters}
    assert "not valid JSON" in reasons[b"no-json"]
    assert "tenant is required" in reasons[b"no-log"]
    assert "output_tokens" in reasons[b"no-fit"]
    assert "request_id_is_given" in reasons[b"refused"]


async def test_a_record_too_large_for_a_dead_letter_ends_no_sink(stand: Stand) -> None:
    """Compressed it was small enough to come; no topic takes it as it is. Its letter says where it lies."""
    large = AIOKafkaProducer(
        bootstrap_servers=stand.bootstrap, compression_type="gzip", max_request_size=2 * MAX_KEPT_BYTES
    )
    await large.start()
    await large.send_and_wait(stand.topic, b"{" + b" " * MAX_KEPT_BYTES, key=b"large", partition=0)
    await large.stop()
    await stand.produce((f"r-{number}" for number in range(10)), partition=0)
    status = SinkStatus()
    with capture_logs() as lines:
        async with running(Sink(stand.config(), stand.writer(status), status)):
            await until(lambda: status.records == 11)
    assert status.dead_letters == 1
    [told] = [line for line in lines if line["event"] == "sink.dead_letter"]
    assert (told["partition"], told["offset"]) == (0, 0)
    assert "not valid JSON" in told["reason"]
    assert await sums(stand.clickhouse) == once(10)
    assert OffsetAndMetadata(11, "") in await stand.committed()


async def test_an_outage_of_clickhouse_is_waited_out(
    stand: Stand, clickhouse_url: str, schema_database: str
) -> None:
    """Health says it, the sink stays in its group with bounded memory, and catches up afterwards."""
    status = SinkStatus()
    limits = stand.config(rows=100)
    async with Proxy(clickhouse_url) as proxy:
        connection = ClickHouse(proxy.url, database=schema_database, timeout_s=5)
        sink = Sink(limits, BatchWriter(connection, stand.publisher, status), status)
        async with running(sink):
            status.schema.set()
            await stand.produce(f"before-{number}" for number in range(100))
            await until(lambda: status.records == 100)
            assert status.ready
            await proxy.cut()
            await stand.produce(f"during-{number}" for number in range(5_000))
            await until(lambda: "clickhouse" in status.outages)
            assert not status.ready
            assert status.behind_s > 0
            polled_at, partitions = status.polled_at, status.partitions
            await until(lambda: status.polled_at > polled_at)
            waiting = sum(len(part.buffer) for part in sink._partitions.values())
            assert waiting < 5_000 + 100  # what one poll brings may come on top of a batch, no more
            await proxy.mend()
            await until(lambda: status.records == 5_100)
            assert status.partitions == partitions
            await until(lambda: status.ready and status.lag_records == 0)
        await connection.close()
    assert await sums(stand.clickhouse) == once(5_100)


async def test_partitions_that_move_between_sinks_lose_and_repeat_nothing(stand: Stand) -> None:
    """A second replica joins in the middle of the work and leaves again."""
    statuses = [SinkStatus(), SinkStatus()]
    sinks = [
        Sink(
            stand.config(instance_id=f"sink-{number}", rows=50),
            stand.writer(status),
            status,
        )
        for number, status in enumerate(statuses)
    ]
    async with running(sinks[0]):
        await stand.produce(f"a-{number}" for number in range(1_000))
        await until(lambda: statuses[0].records > 0)
        async with running(sinks[1]):
            await until(lambda: statuses[1].partitions > 0)
            await stand.produce(f"b-{number}" for number in range(1_000))
            await until(lambda: statuses[1].records > 0)
        await stand.produce(f"c-{number}" for number in range(1_000))

        async def complete() -> bool:
            return (await sums(stand.clickhouse))["requests"] == 3_000

        await until_async(complete)
    assert await sums(stand.clickhouse) == once(3_000)

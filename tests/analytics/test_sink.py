"""The sink on a real broker and a real engine: nothing lost, nothing twice, whatever happens."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.batches import Batch, Limits
from analytics.clickhouse import ClickHouse
from analytics.offsets import CommittedOffsets
from analytics.sink import Sink, SinkConfig
from analytics.status import SinkStatus
from analytics.writer import BatchWriter
from streams.codec import encode
from streams.publisher import Publisher
from streams.topic_admin import create_topics
from streams.topics import DEAD_LETTERS, Topic
from tests.analytics.logs import make_log
from tests.analytics.proxy import Proxy

pytestmark = pytest.mark.integration

PARTITIONS = 4
COST = Decimal("0.000700001")


@pytest.fixture
async def topic(kafka_bootstrap: str) -> str:
    """A topic of its own for each test; the dead-letter topic is there too."""
    name = f"logs-{uuid4().hex[:8]}"
    await create_topics(
        kafka_bootstrap,
        partitions=PARTITIONS,
        replication=1,
        topics=[Topic(name=name, event=None), DEAD_LETTERS],
    )
    return name


@pytest.fixture
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    """For the dead letters."""
    async with Publisher(kafka_bootstrap, client_id="test") as connected:
        yield connected


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """For the log records."""
    connected = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, linger_ms=5)
    await connected.start()
    yield connected
    await connected.stop()


def config(bootstrap: str, topic: str, instance_id: str = "sink-0", rows: int = 10_000) -> SinkConfig:
    return SinkConfig(
        bootstrap=bootstrap,
        topic=topic,
        instance_id=instance_id,
        group=f"group.{topic}",
        batch=Limits(rows=rows, bytes=16_000_000, seconds=0.1),
    )


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
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def produce(producer: AIOKafkaProducer, topic: str, names: Iterable[str]) -> None:
    sends = [
        await producer.send(topic, encode(make_log(name, cost_usd=COST)), key=name.encode()) for name in names
    ]
    await asyncio.gather(*sends)


async def committed(bootstrap: str, topic: str) -> list[OffsetAndMetadata]:
    offsets = CommittedOffsets(bootstrap, group=f"group.{topic}", timeout_s=10)
    try:
        found = await offsets.read([TopicPartition(topic, number) for number in range(PARTITIONS)])
    finally:
        await offsets.close()
    return [commit for commit in found.values() if commit.offset >= 0]


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


async def test_records_become_rows_and_offsets_are_committed_after_them(
    kafka_bootstrap: str,
    topic: str,
    producer: AIOKafkaProducer,
    publisher: Publisher,
    clickhouse: ClickHouse,
) -> None:
    """From all partitions; at the end the commits say that nothing is announced or open."""
    status = SinkStatus()
    sink = Sink(config(kafka_bootstrap, topic), BatchWriter(clickhouse, publisher, status), status)
    await produce(producer, topic, (f"r-{number}" for number in range(500)))
    async with running(sink):
        await until(lambda: status.records == 500)
        await produce(producer, topic, ["later"])
        await until(lambda: status.records == 501 and status.lag_records == 0)
    assert await sums(clickhouse) == once(501)
    commits = await committed(kafka_bootstrap, topic)
    assert sum(commit.offset for commit in commits) == 501
    assert {commit.metadata for commit in commits} == {""}
    assert status.partitions == PARTITIONS
    assert status.behind_s == 0.0


class DiesAfterTheInsert(BatchWriter):
    """A writer whose process is gone when everything is inserted and nothing is committed."""

    inserted: Batch | None = None

    async def write(self, batch: Batch) -> None:
        await super().write(batch)
        self.inserted = batch
        await asyncio.Event().wait()


async def test_a_batch_that_was_inserted_but_not_committed_is_repeated_exactly(
    kafka_bootstrap: str,
    topic: str,
    producer: AIOKafkaProducer,
    publisher: Publisher,
    clickhouse: ClickHouse,
) -> None:
    """The successor has other limits and finds more records, and still writes the announced range first.

    Its inserts are recognised: not even the raw tables have a row twice.
    """
    await asyncio.gather(
        *[
            await producer.send(topic, encode(make_log(f"r-{number}", cost_usd=COST)), partition=1)
            for number in range(300)
        ]
    )
    status = SinkStatus()
    dying = DiesAfterTheInsert(clickhouse, publisher, status)
    async with running(Sink(config(kafka_bootstrap, topic, rows=120), dying, status)) as task:
        await until(lambda: dying.inserted is not None)
        task.cancel()
    assert dying.inserted is not None
    announced = str(dying.inserted.range)
    assert await committed(kafka_bootstrap, topic) == [OffsetAndMetadata(0, announced)]
    assert await sums(clickhouse, raw=True) == once(len(dying.inserted.records))

    await asyncio.gather(
        *[
            await producer.send(topic, encode(make_log(f"s-{number}", cost_usd=COST)), partition=1)
            for number in range(50)
        ]
    )
    status = SinkStatus()
    writer = BatchWriter(clickhouse, publisher, status)
    async with running(Sink(config(kafka_bootstrap, topic, rows=1_000), writer, status)):
        await until(lambda: status.records == 350)
    assert status.replayed_batches == 1
    assert await sums(clickhouse, raw=True) == once(350)
    assert await sums(clickhouse) == once(350)


async def test_bad_records_go_to_the_dead_letters_and_the_others_go_on(
    kafka_bootstrap: str,
    topic: str,
    producer: AIOKafkaProducer,
    publisher: Publisher,
    clickhouse: ClickHouse,
) -> None:
    """No JSON, no log record, a value that does not fit, and a row that the server refuses: each with why."""
    bad = {
        b"no-json": b"\xff{",
        b"no-log": b'{"request_id": "x"}',
        b"no-fit": encode(make_log("no-fit", output_tokens=2**40)),
        b"refused": encode(make_log("")),
    }
    await produce(producer, topic, (f"before-{number}" for number in range(40)))
    for key, value in bad.items():
        await producer.send_and_wait(topic, value, key=key, headers=[("ce_id", b"e-7"), ("ce_id", b"e-8")])
    await produce(producer, topic, (f"after-{number}" for number in range(40)))
    status = SinkStatus()
    sink = Sink(config(kafka_bootstrap, topic), BatchWriter(clickhouse, publisher, status), status)
    async with running(sink):
        await until(lambda: status.records == 84)
    assert status.dead_letters == 4
    [row] = await clickhouse.query("SELECT count() AS n, sum(cost_usd) AS usd FROM requests")
    assert (row["n"], row["usd"]) == (80, 80 * COST)

    letters = await dead_letters(kafka_bootstrap, topic, len(bad))
    assert {letter.key: letter.value for letter in letters} == bad
    for letter in letters:
        assert list(letter.headers[:2]) == [("ce_id", b"e-7"), ("ce_id", b"e-8")]
        reason = dict(letter.headers[2:])
        assert reason["__streams.errors.topic"] == topic.encode()
        assert reason["__streams.errors.stage"] == b"analytics"
        assert int(reason["__streams.errors.offset"]) >= 0
        assert 0 <= int(reason["__streams.errors.partition"]) < PARTITIONS
    reasons = {letter.key: dict(letter.headers)["__streams.errors.message"].decode() for letter in letters}
    assert "not valid JSON" in reasons[b"no-json"]
    assert "missing required field" in reasons[b"no-log"]
    assert "output_tokens" in reasons[b"no-fit"]
    assert "request_id_is_given" in reasons[b"refused"]


async def dead_letters(bootstrap: str, topic: str, count: int) -> list:
    """The dead letters that came from `topic`."""
    consumer = AIOKafkaConsumer(DEAD_LETTERS.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found = []
    try:
        async with asyncio.timeout(30):
            async for letter in consumer:
                if dict(letter.headers)["__streams.errors.topic"] == topic.encode():
                    found.append(letter)
                if len(found) == count:
                    return found
    finally:
        await consumer.stop()
    return found


async def test_an_outage_of_clickhouse_is_waited_out(
    kafka_bootstrap: str,
    topic: str,
    producer: AIOKafkaProducer,
    publisher: Publisher,
    clickhouse: ClickHouse,
    clickhouse_url: str,
    database: str,
) -> None:
    """Health says it, the sink stays in its group with bounded memory, and catches up afterwards."""
    status = SinkStatus()
    limits = config(kafka_bootstrap, topic, rows=100)
    async with Proxy(clickhouse_url) as proxy:
        connection = ClickHouse(proxy.url, database=database, timeout_s=5)
        sink = Sink(limits, BatchWriter(connection, publisher, status), status)
        async with running(sink):
            status.schema_ready = True
            await produce(producer, topic, (f"before-{number}" for number in range(100)))
            await until(lambda: status.records == 100)
            assert status.ready
            await proxy.cut()
            await produce(producer, topic, (f"during-{number}" for number in range(5_000)))
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
    assert await sums(clickhouse) == once(5_100)


async def test_partitions_that_move_between_sinks_lose_and_repeat_nothing(
    kafka_bootstrap: str,
    topic: str,
    producer: AIOKafkaProducer,
    publisher: Publisher,
    clickhouse: ClickHouse,
) -> None:
    """A second replica joins in the middle of the work and leaves again."""
    statuses = [SinkStatus(), SinkStatus()]
    sinks = [
        Sink(
            config(kafka_bootstrap, topic, instance_id=f"sink-{number}", rows=50),
            BatchWriter(clickhouse, publisher, status),
            status,
        )
        for number, status in enumerate(statuses)
    ]
    async with running(sinks[0]):
        await produce(producer, topic, (f"a-{number}" for number in range(1_000)))
        await until(lambda: statuses[0].records > 0)
        async with running(sinks[1]):
            await until(lambda: statuses[1].partitions > 0)
            await produce(producer, topic, (f"b-{number}" for number in range(1_000)))
            await until(lambda: statuses[1].records > 0)
        await produce(producer, topic, (f"c-{number}" for number in range(1_000)))
        async with asyncio.timeout(60):
            while (await sums(clickhouse))["requests"] != 3_000:
                await asyncio.sleep(0.2)
    assert await sums(clickhouse) == once(3_000)


SERVE = "from analytics.main import serve; from streams.settings import load_settings; serve(load_settings())"


def start_process(bootstrap: str, clickhouse_url: str, database: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env=os.environ
        | {
            "HEADRACE_KAFKA_BOOTSTRAP": bootstrap,
            "HEADRACE_REDIS_URL": "redis://127.0.0.1:1/0",
            "HEADRACE_CLICKHOUSE_URL": clickhouse_url,
            "HEADRACE_CLICKHOUSE_DATABASE": database,
            "HEADRACE_ANALYTICS_PORT": "0",
            "HEADRACE_SINK_BATCH_ROWS": "200",
            "HEADRACE_SINK_BATCH_SECONDS": "0.1",
        },
    )

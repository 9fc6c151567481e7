"""Reading a topic to its present end, from a real broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from headrace.embedded.process import free_port
from headrace.ops.topic_reader import OffsetSpan, TopicReader
from streams.errors import ConfigurationError, KafkaUnavailable
from streams.kafka.topic_admin import create_topics
from streams.topics import Topic

integration = pytest.mark.integration
TIMEOUT_S = 10.0


@pytest.fixture
async def topic(kafka_bootstrap: str) -> str:
    name = f"dlq-test-{uuid.uuid4().hex}"
    await create_topics(kafka_bootstrap, partitions=2, replication=1, topics=[Topic(name=name, event=None)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while (await admin.describe_topics([name]))[0]["error_code"]:
                await asyncio.sleep(0.05)  # the broker tells itself of it
    finally:
        await admin.close()
    return name


@pytest.fixture
async def reader(kafka_bootstrap: str) -> AsyncIterator[TopicReader]:
    async with TopicReader(kafka_bootstrap, client_id="test", timeout_s=TIMEOUT_S) as made:
        yield made


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, max_request_size=2**21)
    await made.start()
    yield made
    await made.stop()


async def expire(bootstrap: str, partition: TopicPartition, before: int) -> None:
    """Do what retention does: move the begin of the log."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=before)})
    await admin.close()


async def values(reader: TopicReader, topic: str, *, since_ms: int | None = None) -> list[bytes]:
    spans = await reader.spans([topic], since_ms=since_ms)
    return [record.value async for record in reader.records(spans)]


@integration
async def test_an_empty_topic_is_read_at_once(reader: TopicReader, topic: str) -> None:
    """Nothing there is no reason to wait."""
    assert await values(reader, topic) == []
    assert await values(reader, topic, since_ms=1) == []


@integration
async def test_reading_ends_where_the_topic_ended_when_it_began(
    reader: TopicReader,
    topic: str,
    producer: AIOKafkaProducer,
) -> None:
    """What is written meanwhile belongs to the next reading; the reader can be used again."""
    for number in range(6):
        await producer.send_and_wait(topic, b"%d" % number, partition=number % 2)
    spans = await reader.spans([topic])
    await producer.send_and_wait(topic, b"later", partition=0)
    read = sorted([record.value async for record in reader.records(spans)])
    assert read == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert b"later" in await values(reader, topic)


@integration
async def test_reading_begins_at_a_time(reader: TopicReader, topic: str, producer: AIOKafkaProducer) -> None:
    """By the records' timestamps; a partition that has nothing so new is left out."""
    for at_ms in (1_000, 2_000, 3_000):
        await producer.send_and_wait(topic, b"%d" % at_ms, partition=0, timestamp_ms=at_ms)
    await producer.send_and_wait(topic, b"old", partition=1, timestamp_ms=1_000)
    assert await values(reader, topic, since_ms=2_000) == [b"2000", b"3000"]
    assert await values(reader, topic, since_ms=3_001) == []


@integration
async def test_records_that_say_they_are_older_are_read_too(
    reader: TopicReader, topic: str, producer: AIOKafkaProducer
) -> None:
    """So many before the first of the time, as far as there are any; also where nothing is so new."""
    for at_ms in (1_000, 1, 3_000):
        await producer.send_and_wait(topic, b"%d" % at_ms, partition=0, timestamp_ms=at_ms)
    await producer.send_and_wait(topic, b"0", partition=1, timestamp_ms=0)
    for before, expected in ((0, [b"3000"]), (1, [b"0", b"1", b"3000"]), (9, [b"0", b"1", b"1000", b"3000"])):
        spans = await reader.spans([topic], since_ms=2_000, records_before=before)
        assert sorted([record.value async for record in reader.records(spans)]) == expected


@integration
@pytest.mark.parametrize("left", [3, 0])
async def test_records_that_expire_while_they_are_read_are_passed_over(
    kafka_bootstrap: str,
    reader: TopicReader,
    topic: str,
    producer: AIOKafkaProducer,
    left: int,
) -> None:
    """The begin of the log moves past the reader: it goes on with what is left, or ends."""
    count, partition = 30, TopicPartition(topic, 0)
    for number in range(count):
        # Larger than what one fetch brings, so that the reader has to ask again.
        await producer.send_and_wait(topic, b"%02d" % number + b"x" * 400_000, partition=0)
    read = list[int]()
    async for record in reader.records(await reader.spans([topic])):
        if not read:
            await expire(kafka_bootstrap, partition, count - left)
        read.append(record.offset)
    assert read[0] == 0
    assert len(read) < count
    assert read[-left:] == list(range(count - left, count)) or not left
    assert read == sorted(set(read))


@integration
async def test_an_aborted_transaction_at_the_end_does_not_hold_up_the_reader(
    kafka_bootstrap: str,
    reader: TopicReader,
    topic: str,
) -> None:
    """Its marker takes an offset and is no record: the position passes it."""
    transactional = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=topic)
    await transactional.start()
    try:
        await transactional.begin_transaction()
        await transactional.send_and_wait(topic, b"kept", partition=0)
        await transactional.commit_transaction()
    finally:
        await transactional.stop()
    async with asyncio.timeout(TIMEOUT_S):  # the broker writes the marker after it has answered
        while (await reader.spans([topic]))[TopicPartition(topic, 0)].end < 2:
            await asyncio.sleep(0.05)
    assert await values(reader, topic) == [b"kept"]


@integration
async def test_one_record_is_found_by_its_place(
    kafka_bootstrap: str,
    reader: TopicReader,
    topic: str,
    producer: AIOKafkaProducer,
) -> None:
    """What has expired, is not written yet, or lies in no partition is not there."""
    for number in range(4):
        await producer.send_and_wait(topic, b"%d" % number, partition=1)
    await expire(kafka_bootstrap, TopicPartition(topic, 1), 2)
    found = await reader.record_at(topic, 1, 3)
    assert found is not None
    assert found.value == b"3"
    for partition, offset in ((1, 1), (1, 4), (0, 0), (9, 0)):
        assert await reader.record_at(topic, partition, offset) is None


@integration
async def test_the_first_records_of_spans_are_found(
    reader: TopicReader, topic: str, producer: AIOKafkaProducer
) -> None:
    """By the offsets that groups have committed: one of each partition, none of an empty span."""
    for number in range(6):
        await producer.send_and_wait(topic, b"%d" % number, partition=number % 2)
    spans = {TopicPartition(topic, 0): OffsetSpan(1, 3), TopicPartition(topic, 1): OffsetSpan(2, 3)}
    assert sorted(record.value for record in await reader.first_records(spans)) == [b"2", b"5"]
    assert await reader.first_records({TopicPartition(topic, 0): OffsetSpan(3, 3)}) == []


@integration
async def test_a_topic_that_does_not_exist_is_not_created(reader: TopicReader, topic: str) -> None:
    """Asking for it by its name would do so, where the broker allows it."""
    spans = await reader.spans([topic, "no-such-topic"], missing_ok=True)
    assert {each.topic for each in spans} == {topic}


@integration
async def test_a_missing_topic_is_named_with_the_command_that_makes_it(reader: TopicReader) -> None:
    """An upgraded installation may lack a new topic."""
    with pytest.raises(ConfigurationError, match="headrace topics create"):
        await reader.spans(["no-such-topic"])


async def test_nobody_at_the_address_is_said_so() -> None:
    """The message names the address."""
    port = free_port()
    with pytest.raises(KafkaUnavailable, match=str(port)):
        async with TopicReader(f"127.0.0.1:{port}", client_id="test", timeout_s=2.0):
            pass


async def test_a_broker_that_hangs_is_not_waited_for() -> None:
    """It takes the connection and says nothing: the time-out ends it."""
    connected = asyncio.Event()

    async def hang(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await stream.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(KafkaUnavailable):
            async with TopicReader(f"127.0.0.1:{port}", client_id="test", timeout_s=0.5):
                pass
    assert connected.is_set()

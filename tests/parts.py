"""Kafka, Redis and ClickHouse for tests: official images where Docker answers, the embedded parts elsewhere.

The same tests run on either; the summary of the run says which. HEADRACE_TEST_PARTS=embedded or
=containers chooses by hand.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from testcontainers.core.container import DockerContainer

from headrace.embedded.clickhouse import EmbeddedClickHouse
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.process import free_port
from headrace.embedded.redis import EmbeddedRedis

PARTITIONS = 4
"""Of each topic."""

CLICKHOUSE_READER = ("reader", "read-only")
"""Name and password of a user who can only read, on the embedded ClickHouse."""

KAFKA_IMAGE = "apache/kafka:4.3.0"
REDIS_IMAGE = "redis:8.2"
_DOCKER_SOCKET = Path("/var/run/docker.sock")
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:latest"


@cache
def source() -> tuple[str, str]:
    """Return ``containers`` or ``embedded``, and why."""
    chosen = os.environ.get("HEADRACE_TEST_PARTS")
    if chosen:
        return chosen, "chosen by HEADRACE_TEST_PARTS"
    if not os.environ.get("DOCKER_HOST") and not _DOCKER_SOCKET.exists():
        return "embedded", f"there is no Docker daemon: {_DOCKER_SOCKET} does not exist"
    try:
        import docker  # only where somebody asks

        client = docker.from_env(timeout=3)
        client.ping()
        client.close()
    except Exception as fault:  # noqa: BLE001  # whatever keeps Docker from answering
        return "embedded", f"no Docker daemon answers ({type(fault).__name__})"
    return "containers", "a Docker daemon answers"


@contextmanager
def kafka(data_dir: Path) -> Iterator[str]:
    """Run Kafka and yield its bootstrap server."""
    if source()[0] == "containers":
        port = free_port()
        with _kafka_container(port) as container:
            yield f"{container.get_container_host_ip()}:{port}"
        return
    with _running(EmbeddedKafka(data_dir)) as part:
        yield part.endpoint


def _kafka_container(port: int) -> DockerContainer:
    """Describe one KRaft node of the official image, for clients on this machine at `port`."""
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in settings.items():
        container = container.with_env(name, value)
    return container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))


@contextmanager
def redis(data_dir: Path) -> Iterator[str]:
    """Run Redis and yield its URL."""
    if source()[0] == "containers":
        from testcontainers.community.redis import RedisContainer

        with RedisContainer(REDIS_IMAGE) as container:
            yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
        return
    with _running(EmbeddedRedis(data_dir)) as part:
        yield part.endpoint


@contextmanager
def clickhouse(data_dir: Path) -> Iterator[str]:
    """Run ClickHouse and yield its HTTP URL."""
    if source()[0] == "containers":
        from testcontainers.community.clickhouse import ClickHouseContainer

        container = ClickHouseContainer(CLICKHOUSE_IMAGE, port=8123)
        container.with_env("CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT", "1")  # tests make the reader
        with container:
            host, port = container.get_container_host_ip(), container.get_exposed_port(8123)
            yield f"http://{container.username}:{container.password}@{host}:{port}"
        return
    with _running(EmbeddedClickHouse(data_dir, reader_password=CLICKHOUSE_READER[1])) as part:
        yield part.endpoint


@contextmanager
def _running(part: EmbeddedKafka | EmbeddedRedis | EmbeddedClickHouse) -> Iterator:
    with ExitStack() as stack:
        stack.callback(part.stop)
        part.start()
        yield part

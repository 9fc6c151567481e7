"""Fixtures that all layers share: the real parts, started once a run where a test asks for them."""

import asyncio
import os
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from streams.kafka.topic_admin import create_topics
from tests import parts

# How long an example takes says more about the machine's other work than about the code. On top of what
# Hypothesis itself chooses where it finds a CI service.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# Many tests write records by hand. Those of whole systems take this back, and test what is signed.
os.environ.setdefault("HEADRACE_RECORD_SIGNING", "off")

# Each httpx client reads every authority's certificate, in 20 ms of processor time; no test asks for one.
ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]

# structlog's own choice draws the variables of every frame: up to ten seconds for one logged exception.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka broker with Headrace's topics, for the whole run."""
    with parts.kafka(tmp_path_factory.mktemp("kafka")) as bootstrap:
        asyncio.run(create_topics(bootstrap, partitions=parts.PARTITIONS, replication=1))
        yield bootstrap


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server, for the whole run."""
    with parts.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def own_redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis server of one test's own, which it may fill."""
    with parts.redis(tmp_path / "redis") as url:
        yield url


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ClickHouse server, for the whole run."""
    with parts.clickhouse(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the integration tests ran on."""
    kind, why = parts.source()
    terminalreporter.write_line(f"integration tests: {kind} Kafka, Redis and ClickHouse ({why})")

"""One real server for the tests of this folder, and clients for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from headrace.embedded.clickhouse import EmbeddedClickHouse

READER_PASSWORD = "read-only"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A running server with a reader."""
    part = EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse"), reader_password=READER_PASSWORD)
    part.start()
    yield part
    part.stop()


@pytest.fixture
def client(server: EmbeddedClickHouse) -> Iterator[Client]:
    """A synchronous client with its defaults."""
    with clickhouse_connect.get_client(dsn=server.endpoint) as connected:
        yield connected


@pytest.fixture
def http(server: EmbeddedClickHouse) -> Iterator[httpx.Client]:
    """Plain HTTP, as curl speaks it."""
    with httpx.Client(base_url=server.endpoint, timeout=60) as plain:
        yield plain


@pytest.fixture
def table() -> str:
    """A table name that no other test uses."""
    return f"t_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder for a server of the test's own."""
    return tmp_path / "clickhouse"

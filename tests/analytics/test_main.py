"""The process: stopped in good order, and asked how it is. `tests/chaos/test_sink_kills.py` kills it."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from analytics.clickhouse import ClickHouse
from analytics.main import _listen, run
from headrace.embedded.process import free_port
from streams.codec import encode
from streams.errors import ConfigurationError
from streams.settings import Settings
from streams.topics import LOGS
from tests.analytics.logs import make_log
from tests.analytics.process import Replica

COST = Decimal("0.000700001")


def settings(**fields: Any) -> Settings:
    nowhere = {
        "kafka_bootstrap": "127.0.0.1:1",
        "redis_url": "redis://127.0.0.1:1/0",
        "clickhouse_url": "http://127.0.0.1:1",
        "analytics_port": 0,
    }
    return Settings(_env_file=None, **(nowhere | fields))


async def get(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=5) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


async def test_a_port_in_use_is_named() -> None:
    """The message says which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match="HEADRACE_ANALYTICS_PORT"):
            await run(settings(analytics_port=taken), stop=asyncio.Event())


@pytest.mark.integration
async def test_it_waits_for_its_dependencies_and_says_so() -> None:
    """With nothing there it is alive, not ready, and ends when it is told to."""
    port, stop = free_port(), asyncio.Event()
    process = asyncio.create_task(run(settings(analytics_port=port), stop=stop))
    async with asyncio.timeout(30):
        health: dict[str, Any] = {}
        while health.get("status") != "degraded":
            with suppress(httpx.TransportError):
                health = (await get(port, "/health")).json()
            await asyncio.sleep(0.05)
        assert health["dependencies"]["clickhouse"]["status"] == "down"
        assert health["sink"]["schema_ready"] is False
        assert (await get(port, "/live")).status_code == 200
        assert (await get(port, "/ready")).status_code == 503
        stop.set()
        await process


@pytest.fixture
async def replica(
    kafka_bootstrap: str, clickhouse_url: str, database: str, tmp_path: Path
) -> AsyncIterator[Replica]:
    """A replica that is not started yet; killed at the end if it still runs."""
    replica = Replica(
        {
            "HEADRACE_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "HEADRACE_REDIS_URL": "redis://127.0.0.1:1/0",
            "HEADRACE_CLICKHOUSE_URL": clickhouse_url,
            "HEADRACE_CLICKHOUSE_DATABASE": database,
            "HEADRACE_SINK_BATCH_ROWS": "200",
            "HEADRACE_SINK_BATCH_SECONDS": "0.05",
        },
        tmp_path / "analytics.log",
    )
    yield replica
    replica.kill()


async def produce(producer: AIOKafkaProducer, run_id: str, count: int) -> None:
    """Send `count` records of one run, some hundred a second."""
    for number in range(count):
        log = make_log(f"{run_id}-{number}", cost_usd=COST)
        await producer.send(LOGS.name, encode(log), key=log.request_id.encode())
        if number % 20 == 0:
            await asyncio.sleep(0.02)
    await producer.flush()


async def arrived(clickhouse: ClickHouse, run_id: str) -> int:
    try:
        [row] = await clickhouse.query(
            "SELECT count() AS n FROM requests WHERE startsWith(request_id, {run:String})", {"run": run_id}
        )
    except Exception as fault:  # noqa: BLE001 - the schema may not be there yet
        return -len(str(fault))
    return int(row["n"])


async def wait_for(clickhouse: ClickHouse, run_id: str, count: int) -> None:
    async with asyncio.timeout(90):
        while await arrived(clickhouse, run_id) < count:
            await asyncio.sleep(0.05)


@pytest.mark.integration
async def test_a_running_process_is_ready_and_ends_cleanly(
    producer: AIOKafkaProducer, replica: Replica, empty: ClickHouse
) -> None:
    """Once a record is stored it says so; SIGTERM stores what is in hand and exits with 0."""
    run_id = uuid4().hex
    replica.start()
    await produce(producer, run_id, 1)
    await wait_for(empty, run_id, 1)
    async with asyncio.timeout(30):  # ClickHouse shows the row before the sink has its answer
        ready = await get(replica.port, "/ready")
        while ready.status_code != 200 or ready.json()["sink"]["records"] < 1:
            await asyncio.sleep(0.05)
            ready = await get(replica.port, "/ready")
    assert ready.status_code == 200, ready.text
    await produce(producer, run_id, 300)
    assert await replica.end(signal.SIGTERM) == 0
    replica.start()
    await wait_for(empty, run_id, 300)


def test_small_responses_are_not_held_back() -> None:
    """Head and body are two writes: without the option the second waits 40 ms for an acknowledgement."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

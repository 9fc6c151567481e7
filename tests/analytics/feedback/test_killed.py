"""The whole process killed while feedback comes before, with and after its requests: every score once."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from analytics.clickhouse import ClickHouse
from streams.codec import encode
from streams.topics import FEEDBACK, LOGS
from tests.analytics.feedback.given import feedback
from tests.analytics.logs import make_log
from tests.analytics.process import Replica

pytestmark = pytest.mark.integration

COUNT = 450
_TIMEOUT_S = 150


@pytest.fixture
async def replica(
    kafka_bootstrap: str, clickhouse_url: str, database: str, tmp_path: Path
) -> AsyncIterator[Replica]:
    """The process, not started yet; killed at the end if it still runs."""
    made = Replica(
        {
            "HEADRACE_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "HEADRACE_REDIS_URL": "redis://127.0.0.1:1/0",
            "HEADRACE_CLICKHOUSE_URL": clickhouse_url,
            "HEADRACE_CLICKHOUSE_DATABASE": database,
        },
        tmp_path / "analytics.log",
    )
    yield made
    made.kill()


async def produce(producer: AIOKafkaProducer, run: str) -> None:
    """Of each request its log record, and a thumb before or after it; some think better of it."""
    for number in range(COUNT):
        request_id = f"{run}-{number}"
        thumb = (FEEDBACK.name, encode(feedback(request_id)))
        log = (LOGS.name, encode(make_log(request_id)))
        records = [thumb, log] if number % 2 else [log, thumb]
        if number % 3 == 0:
            records.append((FEEDBACK.name, encode(feedback(request_id, label="down"))))
        for topic, value in records:
            await producer.send(topic, value, key=request_id.encode())
            await asyncio.sleep(0.002)  # two thumbs of one request are not of one millisecond
    await producer.flush()


async def count(clickhouse: ClickHouse, run: str) -> int:
    try:
        [row] = await clickhouse.query(
            "SELECT count() AS n FROM scores WHERE startsWith(request_id, {run:String})", {"run": run}
        )
    except Exception:  # noqa: BLE001  # the schema may not be there yet
        return -1
    return int(row["n"])


async def wait_for(clickhouse: ClickHouse, run: str, scores: int) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        while await count(clickhouse, run) < scores:
            await asyncio.sleep(0.1)


@pytest.mark.timeout(400)
async def test_kills_at_any_moment_lose_and_repeat_no_score(
    producer: AIOKafkaProducer, replica: Replica, empty: ClickHouse
) -> None:
    """Kill -9 twice, wherever it happens to be: one score a request, the corrected ones corrected."""
    run = uuid4().hex
    producing = asyncio.create_task(produce(producer, run))
    for threshold in (1, 200):
        replica.start()
        await wait_for(empty, run, threshold)
        assert await replica.end(signal.SIGKILL) == -signal.SIGKILL
    await producing
    replica.start()
    await wait_for(empty, run, COUNT)

    async def corrected() -> bool:
        [row] = await empty.query("SELECT sum(value) AS value, count() AS n FROM scores")
        return bool((row["n"], row["value"]) == (COUNT, COUNT - COUNT // 3))

    async with asyncio.timeout(_TIMEOUT_S):
        while not await corrected():
            await asyncio.sleep(0.1)
    await replica.listening()
    assert await replica.end(signal.SIGTERM) == 0
    rows = await empty.query("SELECT request_id, value FROM scores")
    wrong = {
        str(row["request_id"])
        for row in rows
        if (int(str(row["request_id"]).rpartition("-")[2]) % 3 == 0) != (row["value"] == 0)
    }
    assert wrong == set()

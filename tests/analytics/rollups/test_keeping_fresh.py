"""The background job: when it pauses, and what it says of itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from analytics.api.health import health_router
from analytics.clickhouse import ClickHouse
from analytics.rollups.refresh import RollupRefresher, keep_rollups_fresh, pause_s
from analytics.status import SinkStatus
from streams.events import RequestLog
from streams.tasks import cancel_and_wait
from tests.analytics.proxy import Proxy
from tests.analytics.rollup_oracle import expected, found
from tests.analytics.stored_logs import some_logs, store


def test_it_works_a_fifth_of_the_time_and_half_of_it_on_a_backlog() -> None:
    """Short runs come at the interval; long ones make their pauses longer."""
    assert pause_s(interval_s=15, took_s=0.2, due=0) == 15
    assert pause_s(interval_s=15, took_s=8, due=0) == 32
    assert pause_s(interval_s=15, took_s=3, due=100) == 3


def at_once(*, interval_s: float, took_s: float, due: int) -> float:
    """However busy the machine is: a test is not to wait for long."""
    return interval_s


@asynccontextmanager
async def running(clickhouse: ClickHouse, status: SinkStatus) -> AsyncIterator[None]:
    refresher = RollupRefresher(clickhouse)
    job = asyncio.create_task(keep_rollups_fresh(refresher, status.rollups, interval_s=0.05, pause=at_once))
    yield
    await cancel_and_wait(job)


async def health(status: SinkStatus) -> dict[str, Any]:
    """What /health says."""

    async def ping() -> None:
        """A ClickHouse that answers."""

    app = FastAPI()
    app.include_router(health_router(status, ping))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer: dict[str, Any] = (await client.get("/health")).json()
        return answer


async def until(fulfilled: Callable[[], bool]) -> None:
    while not fulfilled():
        await asyncio.sleep(0.05)


async def until_exact(clickhouse: ClickHouse, logs: list[RequestLog]) -> None:
    while await found(clickhouse) != expected(logs):
        await asyncio.sleep(0.05)


@pytest.mark.integration
async def test_it_keeps_the_rollups_fresh(clickhouse: ClickHouse) -> None:
    """Rows show without anybody asking, and the status says when it last looked and what is left."""
    status = SinkStatus()
    logs = some_logs(3)
    await store(clickhouse, logs)
    async with asyncio.timeout(60), running(clickhouse, status):
        await until_exact(clickhouse, logs)
        logs += some_logs(2, prefix="more")
        await store(clickhouse, logs[3:])
        await until_exact(clickhouse, logs)
        # Two times one day of seven rollups; scores there are none. A run is counted when it is over.
        await until(lambda: status.rollups.refreshed >= 14)
    told = (await health(status))["rollups"]
    assert told["last_run_at"] is not None
    assert told["refreshed"] >= 14
    assert told["last_error"] is None


@pytest.mark.integration
async def test_it_survives_an_outage_and_says_so(
    clickhouse_url: str, clickhouse: ClickHouse, schema_database: str
) -> None:
    """While ClickHouse is away it tries again; once it is back everything is put right."""
    status = SinkStatus()
    logs = some_logs(3)
    async with asyncio.timeout(90), Proxy(clickhouse_url) as proxy:
        through = ClickHouse(proxy.url, database=schema_database, timeout_s=5)
        async with running(through, status):
            await until(lambda: status.rollups.last_run_at is not None)
            await proxy.cut()
            await until(lambda: status.rollups.last_error is not None)
            await store(clickhouse, logs)
            await proxy.mend()
            await until_exact(clickhouse, logs)
            await until(lambda: status.rollups.last_error is None)
        await through.close()
    assert status.rollups.dirty_days == 0

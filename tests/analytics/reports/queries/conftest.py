"""The known requests in a database, stored once for the whole run, with repeats; and the way to ask."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from analytics.alerts.alert_log import store_alerts
from analytics.clickhouse import ClickHouse
from analytics.reports.catalogue import Catalogue
from analytics.rollups.refresh import RollupRefresher
from analytics.schema.migrate import create_database
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.publisher import Publisher
from tests.analytics.logs import make_record
from tests.analytics.reports.queries.known import (
    AGAIN,
    FIRST_SCORES,
    LOGS,
    OUTSIDE,
    SCORES,
    SINCE,
    STORED_AGAIN_AT,
    STORED_AT,
    UNTIL,
    Score,
)
from tests.analytics.reports.queries.known_alerts import ALERTS
from tests.databases import apply_schema


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share the connection in the loop that it belongs to."""
    for item in items:
        if pytest_asyncio.is_async_test(item) and "known" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


Ask = Callable[..., Awaitable[list[dict[str, Any]]]]

_SCORE_COLUMNS = (
    "request_id score_id tenant user_id accepted_at scored_at name value label source scorer comment model "
    "prompt_template prompt_version experiment arm ingested_at"
).split()


@pytest.fixture(scope="session")
def known_database(clickhouse_url: str) -> Iterator[str]:
    """The name of a database with the known requests and scores, and its rollups."""
    name = f"known_{uuid4().hex[:12]}"
    asyncio.run(_fill(clickhouse_url, name))
    yield name
    asyncio.run(_drop(clickhouse_url, name))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def known(clickhouse_url: str, known_database: str) -> AsyncIterator[ClickHouse]:
    """A connection to that database: making one asks ClickHouse more than a test does."""
    connection = ClickHouse(clickhouse_url, database=known_database, timeout_s=30)
    yield connection
    await connection.close()


@pytest.fixture
def ask(known: ClickHouse) -> Ask:
    """Ask a query of the catalogue about the window of the known requests."""
    catalogue = Catalogue.load()

    async def ask(name: str, **given: object) -> list[dict[str, Any]]:
        bound = catalogue.bind(name, {"since": SINCE, "until": UNTIL, **given})
        rows = await known.query(bound.sql, bound.parameters)
        return [{column: _aware(value) for column, value in row.items()} for row in rows]

    return ask


def _aware(value: Any) -> Any:
    """Give a time its zone, which the client library leaves out: every column is UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


async def _fill(url: str, name: str) -> None:
    server = ClickHouse(url, database=None, timeout_s=60)
    await create_database(server, name)
    await server.close()
    clickhouse = ClickHouse(url, database=name, timeout_s=60)
    await apply_schema(clickhouse)
    # Else merges would remove the repeats, and the views would have nothing to leave out.
    for table in ("requests_raw", "stages_raw", "llm_calls_raw"):
        await clickhouse.execute(f"SYSTEM STOP MERGES {table}")
    await _write(clickhouse, 0, STORED_AT)
    await _write(clickhouse, AGAIN, STORED_AGAIN_AT)
    for number, scores in enumerate((SCORES, FIRST_SCORES)):  # the former ones come late, and change nothing
        rows = [_score_row(score) for score in scores]
        await clickhouse.insert("scores_raw", _SCORE_COLUMNS, rows, token=f"scores-{number}")
    for _ in range(2):  # the watcher writes them again after a restart
        await store_alerts(clickhouse, [event for alert in ALERTS for event in alert.records()])
    await RollupRefresher(clickhouse).refresh()
    await clickhouse.close()


async def _write(clickhouse: ClickHouse, first: int, at: datetime) -> None:
    """Write the log records from an offset on, those outside of the window too."""
    writer = BatchWriter(
        clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus(), clock=lambda: at
    )
    logs = [*LOGS, *OUTSIDE]
    records = tuple(make_record(offset, logs[offset]) for offset in range(first, len(logs)))
    bounds = OffsetRange(first, len(logs) - 1)
    await writer.write(SinkBatch(topic="llm.logs.v1", partition=0, range=bounds, records=records))


def _score_row(score: Score) -> tuple[Any, ...]:
    log = score.log
    return (
        *(log.request_id, score.score_id, log.tenant, log.user_id, log.accepted_at, score.scored_at),
        *(score.name, score.value, "", score.source, score.scorer, "", log.model),
        *(log.prompt_template, log.prompt_version, log.experiment, log.arm, score.scored_at),
    )


async def _drop(url: str, name: str) -> None:
    server = ClickHouse(url, database=None, timeout_s=60)
    await server.execute(f"DROP DATABASE {name} SYNC")
    await server.close()

"""Log records in ClickHouse, written as the sink writes them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus, utc_now
from streams.events import RequestLog
from streams.publisher import Publisher
from tests.analytics.logs import NOON, make_log
from tests.analytics.sink.test_exactness import batch
from tests.databases import database_with


async def store(
    clickhouse: ClickHouse, logs: Sequence[RequestLog], *, stamped: datetime | None = None
) -> None:
    """Write log records as the sink does, under a topic that no earlier write had."""
    writer = BatchWriter(
        clickhouse,
        Publisher("nowhere:1", client_id="unused"),
        SinkStatus(),
        clock=(lambda: stamped) if stamped else utc_now,
    )
    await writer.write(batch(f"llm.logs.{uuid4().hex}", range(len(logs)), logs))


@contextmanager
def database_of(url: str, prefix: str, *writes: Sequence[RequestLog]) -> Iterator[str]:
    """Yield the name of a fresh database with these log records, for tests that only read.

    Args:
        url: the server's.
        prefix: what the name begins with.
        writes: log records by insert; one that is in several is stored as often.
    """

    async def fill(name: str) -> None:
        clickhouse = ClickHouse(url, database=name, timeout_s=30)
        for logs in writes:
            await store(clickhouse, logs)
        await clickhouse.close()

    with database_with(url, prefix) as name:
        asyncio.run(fill(name))
        yield name


def some_logs(count: int, *, prefix: str = "r", at: datetime = NOON) -> list[RequestLog]:
    """Return log records of `count` requests, a second apart."""
    return [
        make_log(f"{prefix}-{number}", accepted_at=at + timedelta(seconds=number)) for number in range(count)
    ]

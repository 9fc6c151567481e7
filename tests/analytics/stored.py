"""Log records as rows of the raw tables, put there without Kafka."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from analytics.rows import rows_of
from streams.events import RequestLog


async def store(clickhouse: ClickHouse, logs: Iterable[RequestLog]) -> None:
    """Insert the rows of these log records."""
    for log in logs:
        for table, rows in rows_of(log, ingested_at=datetime.now(UTC), store_text=True).rows:
            await clickhouse.insert(table.name, table.columns, rows, token=uuid4().hex)

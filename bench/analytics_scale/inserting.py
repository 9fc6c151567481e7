"""How fast the sink's writer inserts: log records as they come from Kafka, in batches of its own size."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.schema.migrate import SchemaRunner, create_database, load_migrations
from analytics.sink.batches import ConsumedRecord, OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.codec import encode
from streams.events import LlmCall, RequestLog, Status, Timing, Usage
from streams.model_catalogue import PRICE_VERSION
from streams.pipeline import path
from streams.publisher import Publisher
from streams.topics import REQUESTS


class _Timed(ClickHouse):
    """A connection that adds up how long its inserts take."""

    insert_seconds = 0.0

    async def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, token: str
    ) -> None:
        """Insert, and take the time."""
        began = time.perf_counter()
        await super().insert(table, columns, rows, token=token)
        self.insert_seconds += time.perf_counter() - began


_DATABASE = "headrace_scale_inserts"
_TOPIC = "llm.logs.v1"
_STAGES = tuple(spec.name for spec in path(REQUESTS))
#: One of the request, one of its call, one of each stage.
ROWS_PER_REQUEST = 2 + len(_STAGES)
#: The sink closes a batch at 10,000 rows (HEADRACE_SINK_BATCH_ROWS).
_BATCH = 10_000 // ROWS_PER_REQUEST


class InsertRate(msgspec.Struct, frozen=True, kw_only=True):
    """What was inserted, and how long it took: all of it, and ClickHouse's part."""

    requests: int
    rows: int
    seconds: float
    insert_seconds: float


async def insert_rate(url: str, *, requests: int, until: datetime) -> InsertRate:
    """Write log records to a database of their own, and drop it.

    The records are decoded, laid out in rows and inserted by the sink's own writer, one batch after another.
    Kafka is not in it.
    """
    server = ClickHouse(url, database=None, timeout_s=60)
    await server.execute(f"DROP DATABASE IF EXISTS {_DATABASE} SYNC")
    await create_database(server, _DATABASE)
    clickhouse = _Timed(url, database=_DATABASE, timeout_s=60)
    await SchemaRunner(clickhouse, load_migrations()).apply()
    writer = BatchWriter(clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus())
    seconds = clickhouse.insert_seconds = 0.0  # without those of the migrations
    for batch in _batches(requests, until):
        began = time.perf_counter()
        await writer.write(batch)
        seconds += time.perf_counter() - began
    [row] = await clickhouse.query("SELECT count() AS n FROM requests")
    if row["n"] != requests:
        raise SystemExit(f"{row['n']} of {requests} requests were stored")
    await clickhouse.close()
    await server.execute(f"DROP DATABASE {_DATABASE} SYNC")
    await server.close()
    return InsertRate(
        requests=requests,
        rows=requests * ROWS_PER_REQUEST,
        seconds=seconds,
        insert_seconds=clickhouse.insert_seconds,
    )


def _batches(requests: int, until: datetime) -> Iterator[SinkBatch]:
    for first in range(0, requests, _BATCH):
        last = min(first + _BATCH, requests) - 1
        records = tuple(
            ConsumedRecord(
                topic=_TOPIC,
                partition=0,
                offset=number,
                timestamp_ms=int(until.timestamp() * 1000),
                key=b"key",
                value=encode(_log(number, until)),
            )
            for number in range(first, last + 1)
        )
        yield SinkBatch(topic=_TOPIC, partition=0, range=OffsetRange(first, last), records=records)


def _log(number: int, until: datetime) -> RequestLog:
    at = until - timedelta(hours=12) + timedelta(milliseconds=number * 100)
    request_id = f"{number:08d}-7a3b-4f11-9c5e-2d8f6b1e0a47"
    sent, got = 100 + number * 7919 % 900, 20 + number * 104_729 % 400
    cost = Decimal(sent * 2500 + got * 10_000) / 1_000_000_000
    call = LlmCall(
        call_id=f"{request_id}-1",
        attempt=1,
        provider="openai",
        request_model="gpt-4o",
        started_at=at + timedelta(milliseconds=20),
        duration_us=800_000 + number % 1000,
        usage=Usage(input_tokens=sent, output_tokens=got),
        cost_usd=cost,
        price_version=PRICE_VERSION,
        response_model="gpt-4o-2024-08-06",
        time_to_first_token_us=200_000,
        finish_reason="stop",
    )
    timings = tuple(
        Timing(
            stage=stage,
            started_at=at + timedelta(milliseconds=place * 7),
            queue_us=1000 + number % 97,
            work_us=2000 + number % 997,
            outcome="ok",
        )
        for place, stage in enumerate(_STAGES)
    )
    return RequestLog(
        request_id=request_id,
        tenant=f"tenant-{number % 20:02d}",
        user_id=f"user-{number * 7919 % 100_000:06d}",
        tier="standard",
        accepted_at=at,
        finished_at=at + timedelta(milliseconds=850),
        status=Status.ANSWERED,
        latency_ms=850.25,
        prompt_template="support",
        prompt_version="v1",
        model="gpt-4o",
        provider="openai",
        input_tokens=sent,
        output_tokens=got,
        cost_usd=cost,
        price_version=PRICE_VERSION,
        cache_kind="miss",
        finish_reason="stop",
        timings=timings,
        calls=(call,),
    )

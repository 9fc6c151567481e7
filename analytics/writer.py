"""Writes one batch of log records: every row once, and what cannot be a row to the dead letters."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec
import structlog

from analytics.batches import Batch, Block, split_by_day
from analytics.clickhouse import ClickHouse, RowsRefused
from analytics.patience import patiently
from analytics.rows import RequestRows, rows_of
from analytics.status import Clock, SinkStatus, utc_now
from streams.codec import decode
from streams.dead_letters import dead_letter
from streams.errors import InputError
from streams.events import RequestLog
from streams.publisher import Publisher

_STAGE = "analytics"

log = structlog.get_logger(__name__)


class Refusal(msgspec.Struct, frozen=True):
    """A record that cannot be stored, by its place in the batch, and why."""

    source: int
    fault: InputError


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as inserts, and the records of it that are no log records."""

    blocks: Sequence[Block]
    refusals: Sequence[Refusal]


def prepare(batch: Batch, *, ingested_at: datetime, store_text: bool) -> Prepared:
    """Decode a batch and lay it out in inserts. Pure, and worth a thread of its own."""
    requests: list[tuple[int, RequestRows]] = []
    refusals: list[Refusal] = []
    for source, record in enumerate(batch.records):
        try:
            event = decode(record.value, RequestLog, record.headers)
            requests.append((source, rows_of(event, ingested_at=ingested_at, store_text=store_text)))
        except InputError as fault:
            refusals.append(Refusal(source, fault))
    return Prepared(blocks=split_by_day(batch, requests), refusals=refusals)


class BatchWriter:
    """Writes batches to ClickHouse, and waits where ClickHouse or Kafka is away.

    Writing the same batch again changes nothing: each insert carries a token that depends on the batch's
    range of offsets alone, and beyond that the tables replace rows by their keys.

    Args:
        clickhouse: a connection to the database that the schema is in.
        publisher: for the dead letters.
        status: where it counts, and says what is away.
        store_text: whether the texts of requests and replies are kept.
        clock: the time that rows get as `ingested_at`.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        publisher: Publisher,
        status: SinkStatus,
        *,
        store_text: bool = True,
        clock: Clock = utc_now,
    ) -> None:
        self._clickhouse = clickhouse
        self._publisher = publisher
        self._status = status
        self._store_text = store_text
        self._clock = clock

    async def write(self, batch: Batch) -> None:
        """Return once every row of the batch is in ClickHouse, and every bad record in the dead letters."""
        prepared = await asyncio.to_thread(
            prepare, batch, ingested_at=self._clock(), store_text=self._store_text
        )
        refusals = list(prepared.refusals)
        for block in prepared.blocks:
            refusals += await self._store(block)
        await self._bury(batch, refusals)

    async def _store(self, block: Block) -> list[Refusal]:
        """Insert a block. Where rows of it are refused, halve it until only they are left."""
        try:
            await patiently(partial(self._insert, block), dependency="clickhouse", status=self._status)
        except RowsRefused as fault:
            if len(block.rows) == 1:
                return [Refusal(block.sources[0], fault)]
            first, second = block.halves()
            return [*await self._store(first), *await self._store(second)]
        return []

    async def _insert(self, block: Block) -> None:
        began = time.perf_counter()
        await self._clickhouse.insert(block.table.name, block.table.columns, block.rows, token=block.token)
        self._status.inserted(len(block.rows), time.perf_counter() - began)

    async def _bury(self, batch: Batch, refusals: Sequence[Refusal]) -> None:
        """Send each refused record to the dead letters, once, with the first reason found."""
        reasons: dict[int, InputError] = {}
        for refusal in refusals:
            reasons.setdefault(refusal.source, refusal.fault)
        for source, fault in reasons.items():
            record = batch.records[source]
            emit = dead_letter(record, stage=_STAGE, fault=fault)
            await patiently(partial(self._publisher.publish, emit), dependency="kafka", status=self._status)
            self._status.dead_letters += 1
            log.warning(
                "sink.dead_letter",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=str(fault),
            )

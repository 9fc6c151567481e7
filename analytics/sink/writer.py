"""Writes batches to ClickHouse: every row once, and what cannot be a row to the dead letters."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import partial

import msgspec
import structlog

from analytics.clickhouse import ClickHouse, RowsRefused
from analytics.erasure.late_rows import Anonymiser, LateRowErasure
from analytics.sink.batches import ConsumedRecord, InsertBlock, SinkBatch, split_by_day
from analytics.sink.rows import RequestRows, rows_of
from analytics.status import Clock, ConsumerStatus, SinkStatus, utc_now
from streams.codec import decode
from streams.erasure import ErasureFeed, ErasureList, Subject
from streams.errors import InputError, UnauthenticRecord, Undeliverable
from streams.events import RequestLog
from streams.publisher import Publisher
from streams.redelivery import dead_letter

log = structlog.get_logger(__name__)

_STAGE = "analytics"


class TextRules(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the texts of requests and replies are kept: the default, and the tenants that differ."""

    default: bool = True
    by_tenant: Mapping[str, bool] = msgspec.field(default_factory=dict)

    def keep(self, tenant: str) -> bool:
        """Whether this tenant's texts are kept."""
        return self.by_tenant.get(tenant, self.default)


class RefusedRecord(msgspec.Struct, frozen=True):
    """A record that cannot be stored, by its place in the batch, and why."""

    source: int
    fault: InputError


class PreparedInserts(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as inserts, the records that were refused, and the users of the others."""

    blocks: Sequence[InsertBlock]
    refusals: Sequence[RefusedRecord]
    subjects: frozenset[Subject] = frozenset()


def prepare(
    batch: SinkBatch, *, ingested_at: datetime, text: TextRules, erasures: ErasureList | None = None
) -> PreparedInserts:
    """Decode a batch and lay it out in inserts. Pure; run in a thread."""
    requests: list[tuple[int, RequestRows]] = []
    refusals: list[RefusedRecord] = []
    applied: dict[int, str] = {}
    anonymiser = Anonymiser(erasures or ErasureList())
    for source, record in enumerate(batch.records):
        try:
            if not record.authentic:
                raise UnauthenticRecord("Headrace has not written this record")
            kept, erasure = anonymiser.apply(decode(record.value, RequestLog, record.headers))
            if kept is not None:
                store_text = text.keep(kept.tenant)
                requests.append((source, rows_of(kept, ingested_at=ingested_at, store_text=store_text)))
        except InputError as fault:
            refusals.append(RefusedRecord(source, fault))
        else:
            if erasure is not None:
                applied[source] = f"{erasure.digest}:{erasure.mode}"
    blocks = [_renamed(block, applied) for block in split_by_day(batch, requests)]
    return PreparedInserts(blocks=blocks, refusals=refusals, subjects=anonymiser.subjects)


def _renamed(block: InsertBlock, applied: Mapping[int, str]) -> InsertBlock:
    """Return a block under a token that says which of its records were changed by an erasure.

    The batch may have been written before the erasure was ordered. Under the same token ClickHouse would take
    the changed rows for those, and drop them.
    """
    changed = [f"{source}:{applied[source]}" for source in sorted(set(block.sources)) if source in applied]
    if not changed:
        return block
    digest = hashlib.blake2b("\n".join(changed).encode(), digest_size=8, usedforsecurity=False).hexdigest()
    return msgspec.structs.replace(block, token=f"{block.token}:erased-{digest}")


@dataclass(eq=False)
class BatchWriter:
    """Writes batches to ClickHouse, and waits where ClickHouse or Kafka is away.

    Writing the same batch again changes nothing: each insert carries a token that depends on the batch's
    range of offsets alone, and beyond that the tables replace rows by their keys.
    """

    clickhouse: ClickHouse
    publisher: Publisher
    status: SinkStatus
    _: KW_ONLY
    text: TextRules = field(default_factory=TextRules)
    erasures: ErasureFeed | None = None
    clock: Clock = utc_now

    async def write(self, batch: SinkBatch) -> None:
        """Return once every row of the batch is in ClickHouse, and every bad record in the dead letters."""
        erasure = LateRowErasure(self.clickhouse, self.erasures, self.status)
        known = await erasure.current()
        prepared = await asyncio.to_thread(
            prepare, batch, ingested_at=self.clock(), text=self.text, erasures=known
        )
        refusals = list(prepared.refusals)
        for block in prepared.blocks:
            refusals += await insert_block(self.clickhouse, block, self.status)
        await erasure.after_writing(prepared.subjects)
        # Each refused record becomes one dead letter, with the first reason found.
        reasons: dict[int, InputError] = {}
        for refusal in refusals:
            reasons.setdefault(refusal.source, refusal.fault)
        for source, fault in reasons.items():
            await publish_dead_letter(
                self.publisher, batch.records[source], stage=_STAGE, fault=fault, status=self.status
            )


async def insert_block(
    clickhouse: ClickHouse, block: InsertBlock, status: ConsumerStatus
) -> list[RefusedRecord]:
    """Insert a block, waiting out outages. Where rows are refused, halve it until only they are left."""
    try:
        await status.retry("clickhouse", partial(_insert, clickhouse, block, status))
    except RowsRefused as fault:
        if len(block.rows) == 1:
            return [RefusedRecord(block.sources[0], fault)]
        return [each for half in block.halves() for each in await insert_block(clickhouse, half, status)]
    return []


async def _insert(clickhouse: ClickHouse, block: InsertBlock, status: ConsumerStatus) -> None:
    began = time.perf_counter()
    await clickhouse.insert(block.table.name, block.table.columns, block.rows, token=block.token)
    status.inserted(len(block.rows), time.perf_counter() - began)


async def publish_dead_letter(
    publisher: Publisher, record: ConsumedRecord, *, stage: str, fault: InputError, status: ConsumerStatus
) -> None:
    """Publish a dead letter, waiting out outages of Kafka; log the record where it is too large for one."""
    reason = str(fault)
    emit = dead_letter(record, stage=stage, fault=fault)
    try:
        await status.retry("kafka", partial(publisher.publish, emit))
    except Undeliverable as undeliverable:
        # With its reason, or without its compression, it is larger than a record may be. No try changes
        # that, and those behind it must not wait. It stays where it was read, while that is kept.
        reason = f"{reason}; and there is no dead letter: {undeliverable}"
    status.dead_letters += 1
    log.warning(
        status.event("dead_letter"),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason,
    )

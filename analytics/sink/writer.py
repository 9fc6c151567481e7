"""Writes one batch of log records: every row once, and what cannot be a row to the dead letters."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.erasure.forgetting import Anonymiser, LateRowErasure
from analytics.sink.batches import ConsumedRecord, InsertBlock, SinkBatch, split_by_day
from analytics.sink.refused_records import RefusedRecord, insert_block, publish_dead_letter
from analytics.sink.rows import RequestRows, rows_of
from analytics.sink.status import Clock, SinkStatus, utc_now
from streams.codec import decode
from streams.erasure import ErasureFeed, ErasureList, Subject
from streams.errors import InputError, UnauthenticRecord
from streams.events import RequestLog
from streams.publisher import Publisher

_STAGE = "analytics"


class TextRules(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the texts of requests and replies are kept: the default, and the tenants that differ."""

    default: bool = True
    by_tenant: Mapping[str, bool] = msgspec.field(default_factory=dict)

    def keep(self, tenant: str) -> bool:
        """Whether this tenant's texts are kept."""
        return self.by_tenant.get(tenant, self.default)


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
            log, erasure = anonymiser.apply(_decoded(record))
            if log is not None:
                store_text = text.keep(log.tenant)
                requests.append((source, rows_of(log, ingested_at=ingested_at, store_text=store_text)))
        except InputError as fault:
            refusals.append(RefusedRecord(source, fault))
        else:
            if erasure is not None:
                applied[source] = f"{erasure.digest}:{erasure.mode}"
    blocks = [_renamed(block, applied) for block in split_by_day(batch, requests)]
    return PreparedInserts(blocks=blocks, refusals=refusals, subjects=anonymiser.subjects)


def _decoded(record: ConsumedRecord) -> RequestLog:
    """Return the log record in a record; `InputError` where it holds none, or Headrace has not written it."""
    if not record.authentic:
        raise UnauthenticRecord("Headrace has not written this record")
    return decode(record.value, RequestLog, record.headers)


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


class BatchWriter:
    """Writes batches to ClickHouse, and waits where ClickHouse or Kafka is away.

    Writing the same batch again changes nothing: each insert carries a token that depends on the batch's
    range of offsets alone, and beyond that the tables replace rows by their keys.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        publisher: Publisher,
        status: SinkStatus,
        *,
        text: TextRules = TextRules(),  # noqa: B008  # a frozen value
        erasures: ErasureFeed | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._clickhouse = clickhouse
        self._publisher = publisher
        self._status = status
        self._text = text
        self._erasure = LateRowErasure(clickhouse, erasures, status)
        self._clock = clock

    async def write(self, batch: SinkBatch) -> None:
        """Return once every row of the batch is in ClickHouse, and every bad record in the dead letters."""
        known = await self._erasure.current()
        prepared = await asyncio.to_thread(
            prepare, batch, ingested_at=self._clock(), text=self._text, erasures=known
        )
        refusals = list(prepared.refusals)
        for block in prepared.blocks:
            refusals += await insert_block(self._clickhouse, block, self._status)
        await self._erasure.after_writing(prepared.subjects)
        await self._bury(batch, refusals)

    async def _bury(self, batch: SinkBatch, refusals: Sequence[RefusedRecord]) -> None:
        """Send each refused record to the dead letters, once, with the first reason found."""
        reasons: dict[int, InputError] = {}
        for refusal in refusals:
            reasons.setdefault(refusal.source, refusal.fault)
        for source, fault in reasons.items():
            await publish_dead_letter(
                self._publisher, batch.records[source], stage=_STAGE, fault=fault, status=self._status
            )

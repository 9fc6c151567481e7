"""Finds the rows that ClickHouse refuses, and publishes their records as dead letters."""

import time
from functools import partial

import msgspec
import structlog

from analytics.clickhouse import ClickHouse, RowsRefused
from analytics.sink.batches import ConsumedRecord, InsertBlock
from analytics.sink.status import ConsumerStatus
from streams.dead_letters import dead_letter
from streams.errors import InputError, Undeliverable
from streams.publisher import Publisher

log = structlog.get_logger(__name__)


class RefusedRecord(msgspec.Struct, frozen=True):
    """A record that cannot be stored, by its place in the batch, and why."""

    source: int
    fault: InputError


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

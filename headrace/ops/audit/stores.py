"""Reads what ClickHouse and Redis say of requests and calls: for a time window, and later by id."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from agents.stores.journal import journal_key
from analytics.clickhouse import ClickHouse
from headrace.ops.audit.evidence import (
    AuditWindow,
    CallRow,
    ClickHouseEvidence,
    RedisEvidence,
    RequestRow,
    nano_usd,
)
from headrace.ops.batches import in_batches
from streams.redis.connection import store_faults
from streams.registry.registry import request_key

#: ClickHouse parses 256 KiB of a query; an id is up to 128 characters long.
_IDS_A_BATCH = 500
#: `accepted_at` may lie before the record was written, by as much as ingest's publishing took.
_SLACK_MS = 60_000
_FAR_MS = 5_000_000_000_000  # 2128: later than any row, within what the column holds
_CALL_FIELDS = (b"begun:", b"ended:")

# Parameters are put into the text, quoted: in the URL there is no room for five hundred ids.
_ROWS = (
    "SELECT request_id, toUnixTimestamp64Milli(accepted_at) AS accepted_at_ms, toString(status) AS status, "
    "cost_usd FROM requests WHERE "
)
_CALLS = (
    "SELECT call_id, request_id, cost_usd, error, toString(finish_reason) AS finish_reason, shadow, "
    "orphaned, usage_estimated AS estimated, input_tokens, output_tokens FROM llm_calls WHERE "
)
_SINCE = "accepted_at >= fromUnixTimestamp64Milli(%(since)s)"
_WITHIN = _SINCE + " AND accepted_at < fromUnixTimestamp64Milli(%(until)s)"


class _JournaledCall(msgspec.Struct, frozen=True):
    call_id: str


async def read_clickhouse(clickhouse: ClickHouse, window: AuditWindow) -> ClickHouseEvidence:
    """Return the rows and calls of the requests that were accepted in the window.

    Raises:
        ClickHouseUnavailable: the server does not answer in time, or refuses; so do the functions below.
    """
    evidence = ClickHouseEvidence()
    until_ms = _FAR_MS if window.until_ms is None else window.until_ms
    bounds = {"since": window.since_ms - _SLACK_MS, "until": until_ms}
    await _add_rows(clickhouse, evidence, _WITHIN, bounds)
    await _add_calls(clickhouse, evidence, _WITHIN, bounds)
    return evidence


async def add_requests(
    clickhouse: ClickHouse, evidence: ClickHouseEvidence, request_ids: Collection[str]
) -> None:
    """Add the rows and calls of these requests, whenever they were accepted."""
    for ids in in_batches([each for each in request_ids if each not in evidence.rows], _IDS_A_BATCH):
        await _add_rows(clickhouse, evidence, "request_id IN %(ids)s", {"ids": ids})
        await _add_calls(clickhouse, evidence, "request_id IN %(ids)s", {"ids": ids}, again=True)


async def add_calls(
    clickhouse: ClickHouse, evidence: ClickHouseEvidence, call_ids: Collection[str], *, since_ms: int
) -> None:
    """Add these calls, of whatever request that was accepted at or after `since_ms`."""
    for ids in in_batches([each for each in call_ids if each not in evidence.calls], _IDS_A_BATCH):
        condition = f"{_SINCE} AND call_id IN %(ids)s"
        await _add_calls(clickhouse, evidence, condition, {"ids": ids, "since": since_ms})


async def _add_rows(
    clickhouse: ClickHouse, evidence: ClickHouseEvidence, condition: str, parameters: Mapping[str, Any]
) -> None:
    for row in await clickhouse.query(_ROWS + condition, parameters):
        request_id, cost_nano = row.pop("request_id"), nano_usd(row.pop("cost_usd"))
        known = evidence.rows.get(request_id)
        if known is None:
            evidence.rows[request_id] = RequestRow(cost_nano=cost_nano, **row)
        else:
            known.rows += 1
            known.cost_nano += cost_nano


async def _add_calls(
    clickhouse: ClickHouse,
    evidence: ClickHouseEvidence,
    condition: str,
    parameters: Mapping[str, Any],
    *,
    again: bool = False,
) -> None:
    for row in await clickhouse.query(_CALLS + condition, parameters):
        call_id, cost_nano = row.pop("call_id"), nano_usd(row.pop("cost_usd"))
        if call_id in evidence.calls and not again:
            evidence.doubled.add(call_id)
        evidence.calls[call_id] = CallRow(cost_nano=cost_nano, **row)


async def read_redis(redis: Redis, request_ids: Iterable[str]) -> RedisEvidence:
    """Return what the registry and the journal know of these requests."""
    evidence = RedisEvidence()
    with store_faults("reading the registry and the journal"):
        await redis.ping()  # so that one that is away is noticed, even where nothing is asked
        for ids in in_batches(request_ids, _IDS_A_BATCH):
            async with redis.pipeline(transaction=False) as pipeline:
                for request_id in ids:
                    pipeline.hexists(request_key(request_id), "state")
                    pipeline.hgetall(journal_key(request_id))
                found = await pipeline.execute()
            evidence.known += sum(found[::2])
            evidence.open_calls |= {
                msgspec.json.decode(value, type=_JournaledCall).call_id
                for journal in found[1::2]
                for name, value in journal.items()
                if name.startswith(_CALL_FIELDS)
            }
    return evidence

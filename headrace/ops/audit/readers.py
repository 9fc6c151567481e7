"""Reads the evidence: topics and consumer groups, ClickHouse and Redis, and the simulator's invoice."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from aiokafka import ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from agents.stores.journal import journal_key
from analytics.clickhouse import ClickHouse
from headrace.ops.audit.evidence import (
    AuditWindow,
    BilledCall,
    CallRow,
    ClickHouseEvidence,
    GroupPosition,
    InvoiceEvidence,
    KafkaEvidence,
    RedisEvidence,
    RequestRow,
    TopicRead,
    nano_usd,
)
from headrace.ops.topic_reader import OffsetSpan, TopicReader, in_batches
from streams.errors import HeadraceError
from streams.kafka.inspector import Offsets
from streams.pipeline import RELAY, SINK, STAGES, ConsumerSpec
from streams.redis.connection import store_faults
from streams.registry.registry import request_key


class IncrementalReader:
    """Reads what has come since the last read. `reads` says how each topic was read."""

    def __init__(self, topics: TopicReader) -> None:
        self._topics = topics
        self._next_offsets: dict[TopicPartition, int] = {}
        #: Partitions of which nothing was read yet, and whose older records may have been deleted.
        self._truncated: set[TopicPartition] = set()
        self.reads: dict[str, TopicRead] = {}

    async def read(
        self,
        topics: Iterable[str],
        add: Callable[[ConsumerRecord], None],
        *,
        since_ms: int,
        until_ms: int | None = None,
        records_before: int = 0,
    ) -> None:
        """Hand every new record of the topics to `add`. Topics that do not exist are passed over.

        The first read of a topic begins at the first record written at or after `since_ms`, or so many
        records before it. A read ends where the topic ended when it was begun, or before the first record
        written at or after `until_ms`.
        """
        topics = tuple(topics)
        spans = await self._topics.spans(
            topics, since_ms=since_ms, until_ms=until_ms, records_before=records_before, missing_ok=True
        )
        existing = {partition.topic for partition in spans}
        for topic in topics:
            self.reads.setdefault(topic, TopicRead(topic=topic, gone=True)).gone &= topic not in existing
        for partition, span in spans.items():
            if partition not in self._next_offsets:
                self._next_offsets[partition] = span.begin
                self._truncated |= {partition} if span.truncated else set()
        unread = {each: OffsetSpan(self._next_offsets[each], span.end) for each, span in spans.items()}
        async for record in self._topics.records(unread):
            read, partition = self.reads[record.topic], TopicPartition(record.topic, record.partition)
            if partition in self._truncated:
                self._truncated.remove(partition)
                read.truncated_ms = max(read.truncated_ms or 0, record.timestamp)
            read.last_ms = max(read.last_ms or 0, record.timestamp)
            read.records += 1
            add(record)
        for partition, span in unread.items():
            self._next_offsets[partition] = max(span.begin, span.end)


async def read_positions(topics: TopicReader, evidence: KafkaEvidence) -> None:
    """Note how far each group has come; before the topics are read, so that these hold what it did."""
    read = {spec.source.name for spec in (*STAGES, SINK, RELAY)}
    partitions, known = await topics.partitions(read), await topics.groups()
    commits: dict[str, Offsets] = {}
    for spec in (*STAGES, SINK, RELAY):
        own = [each for each in partitions if each.topic == spec.source.name and spec.group in known]
        commits[spec.group] = await topics.committed_offsets(spec.group, own)
    spans = await topics.spans(read, missing_ok=True)

    async def position(spec: ConsumerSpec) -> GroupPosition:
        done = commits[spec.group]
        here = {each: span for each, span in spans.items() if each.topic == spec.source.name}
        # Deleted records do not wait; a group without a commit begins at the beginning.
        at = {each: max(done.get(each, 0), span.begin) for each, span in here.items()}
        unfinished = {each: OffsetSpan(at[each], span.end) for each, span in here.items()}
        behind = {each: span for each, span in unfinished.items() if span.begin < span.end}
        oldest = await topics.first_records(behind)
        return GroupPosition(
            group=spec.group,
            topic=spec.source.name,
            offsets={each.partition: offset for each, offset in at.items()},
            ends={each.partition: span.end for each, span in here.items()},
            oldest_ms=min((record.timestamp for record in oldest), default=None),
        )

    evidence.stages = tuple([await position(spec) for spec in STAGES])
    evidence.sink = await position(SINK)
    evidence.relay = await position(RELAY) if commits[RELAY.group] else None


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
    """Return the rows and calls of the requests that were accepted in the window."""
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


class InvoiceUnavailable(HeadraceError):
    """The simulator does not show its invoice."""


class _Item(msgspec.Struct, frozen=True):
    usd: str
    at: datetime
    input_tokens: int = 0
    output_tokens: int = 0
    client_request_id: str | None = None


class _Invoice(msgspec.Struct, frozen=True):
    items: tuple[_Item, ...]
    complete: bool


async def read_invoice(client: httpx.AsyncClient, url: str, *, since_ms: int) -> InvoiceEvidence:
    """Return what was billed at or after a time. Raises `InvoiceUnavailable`."""
    since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat()
    try:
        response = await client.get(f"{url.rstrip('/')}/invoice", params={"since": since})
        response.raise_for_status()
        invoice = msgspec.json.decode(response.content, type=_Invoice)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as fault:
        raise InvoiceUnavailable(
            f"the simulator at {url.rpartition('@')[2]} does not show its invoice: {fault!r}; "
            "without one leave out --invoice"
        ) from fault
    evidence = InvoiceEvidence(complete=invoice.complete)
    for item in invoice.items:
        if item.client_request_id is None:
            continue
        known = evidence.items.setdefault(
            item.client_request_id,
            BilledCall(
                cost_nano=0,
                at_ms=int(item.at.timestamp() * 1000),
                input_tokens=item.input_tokens,
                output_tokens=item.output_tokens,
                times=0,
            ),
        )
        known.times += 1
        known.cost_nano += nano_usd(item.usd)
    return evidence

"""Reads every part in the order that makes the balance safe."""

import time
from contextlib import AsyncExitStack
from functools import partial

import httpx

from analytics.clickhouse import ClickHouse
from headrace.ops.audit.balance import balance
from headrace.ops.audit.evidence import AuditWindow, Evidence, KafkaEvidence
from headrace.ops.audit.kafka_records import RecordCollector
from headrace.ops.audit.money import unbooked, unknown_ids
from headrace.ops.audit.readers import (
    IncrementalReader,
    add_calls,
    add_requests,
    read_clickhouse,
    read_invoice,
    read_positions,
    read_redis,
)
from headrace.ops.audit.replies import undecided
from headrace.ops.audit.report import AuditReport, AuditVerdict
from headrace.ops.topic_reader import RECORDS_BEFORE, TopicReader
from streams.events import MAX_DEADLINE_MS
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import ENTRANCES
from streams.redis.connection import connect
from streams.settings import Settings
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS, LEDGER, LOGS, RETRIES

#: Requests are read from so long before the window: their replies fall into it.
RUN_UP_MS = 10 * 60 * 1000
#: How far the clocks of those who write records may differ.
SKEW_MS = 60_000
_INVOICE_CONNECT_TIMEOUT_S = 5.0
_RESULT_TOPICS = tuple(topic.name for topic in (LOGS, LEDGER, DEAD_LETTERS, DEAD_LETTER_ACTIONS, RETRIES))
_ENTRANCES = tuple(topic.name for topic in ENTRANCES)
_MAX_REPLY_TOPICS = 200


class Auditor:
    """One audit. Each `read` reads only what has come since the one before. `simulator` is its address.

    The order matters, for everything moves on meanwhile: the invoice first, so that every call on it can be
    booked by then; then how far the consumer groups have come, so that what they had finished must be in what
    is read next; ClickHouse before Kafka, so that every row's request is known; the requests last of all.
    """

    def __init__(self, settings: Settings, window: AuditWindow, *, simulator: str | None) -> None:
        self._window = window
        self._simulator = simulator
        self._topics = TopicReader(
            settings.kafka_bootstrap, client_id="headrace-audit", timeout_s=settings.kafka_timeout_s
        )
        self._reader = IncrementalReader(self._topics)
        self._redis = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        timeout = httpx.Timeout(settings.clickhouse_timeout_s, connect=_INVOICE_CONNECT_TIMEOUT_S)
        self._http = httpx.AsyncClient(timeout=timeout)
        self._clickhouse = ClickHouse(
            settings.clickhouse_url,
            database=settings.clickhouse_database,
            timeout_s=settings.clickhouse_timeout_s,
        )
        self._kafka = KafkaEvidence()
        self._collector = RecordCollector(
            self._kafka,
            window,
            default_deadline_ms=settings.default_deadline_ms,
            auth=RecordAuth.from_settings(settings),
        )

    async def aclose(self) -> None:
        """Disconnect. Each part is connected to at its first use."""
        async with AsyncExitStack() as closing:
            for part in (self._topics, self._clickhouse):
                closing.push_async_callback(part.close)
            for client in (self._http, self._redis):
                closing.push_async_callback(client.aclose)

    async def report(self) -> AuditReport:
        """Read, and report.

        What looks wrong is read once more: a reply may have been written between two of the readings. Raises
        `KafkaUnavailable`, `StoreUnavailable`, `ClickHouseUnavailable` or `InvoiceUnavailable`.
        """
        begun = time.monotonic()
        report = balance(await self.read(), took_s=time.monotonic() - begun)
        if report.verdict is AuditVerdict.UNBALANCED:
            report = balance(await self.read(), took_s=time.monotonic() - begun)
        return report

    async def read(self) -> Evidence:
        """Read what has come, and return all evidence."""
        window, invoice = self._window, None
        if self._simulator is not None:
            invoice = await read_invoice(self._http, self._simulator, since_ms=window.since_ms - SKEW_MS)
        taken_at_ms = int(time.time() * 1000)
        await read_positions(self._topics, self._kafka)
        clickhouse = await read_clickhouse(self._clickhouse, window)
        await self._read_topics()
        evidence = Evidence(
            window=window,
            taken_at_ms=taken_at_ms,
            kafka=self._kafka,
            redis=await read_redis(self._redis, undecided(self._kafka, since_ms=window.since_ms)),
            clickhouse=clickhouse,
            invoice=invoice,
        )
        await self._add_by_id(evidence)
        return evidence

    async def _read_topics(self) -> None:
        since_ms, until_ms = self._window.since_ms, self._window.until_ms
        read_requests = partial(
            self._reader.read,
            _ENTRANCES,
            self._collector.add,
            since_ms=since_ms - RUN_UP_MS,
            until_ms=None if until_ms is None else until_ms + SKEW_MS,
            records_before=RECORDS_BEFORE,
        )
        await read_requests()
        topics = (*_RESULT_TOPICS, *sorted(self._collector.reply_topics)[:_MAX_REPLY_TOPICS])
        await self._reader.read(topics, self._collector.add, since_ms=since_ms - SKEW_MS)
        await read_requests()
        self._kafka.topics = self._reader.reads

    async def _add_by_id(self, evidence: Evidence) -> None:
        """Ask ClickHouse by id for what the window alone does not show.

        Rows of requests whose senders named an earlier `accepted_at`; what is known of requests that are on
        no topic; calls of requests that were accepted before the window.
        """
        kafka, clickhouse = self._kafka, evidence.clickhouse
        without_row = [
            request_id
            for request_id, request in kafka.requests.items()
            if request.inside and request_id in kafka.logs and request_id not in clickhouse.rows
        ]
        await add_requests(self._clickhouse, clickhouse, [*without_row, *unknown_ids(evidence)])
        since_ms = self._window.since_ms - MAX_DEADLINE_MS - SKEW_MS
        await add_calls(self._clickhouse, clickhouse, unbooked(evidence), since_ms=since_ms)

"""Reads every part in the order that makes the balance safe, and reads on until nothing is under way."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import httpx
from redis.asyncio import Redis

from headrace.ops.audit.balance.balance import balance
from headrace.ops.audit.balance.calls import unbooked
from headrace.ops.audit.balance.money import strangers
from headrace.ops.audit.balance.replies import undecided
from headrace.ops.audit.evidence import clickhouse as clickhouse_books
from headrace.ops.audit.evidence.clickhouse import ClickHouseReader
from headrace.ops.audit.evidence.invoice import read_invoice
from headrace.ops.audit.evidence.kafka import Scribe
from headrace.ops.audit.evidence.kafka_reader import KafkaReader
from headrace.ops.audit.evidence.positions import Positions
from headrace.ops.audit.evidence.records import (
    Books,
    ClickHouseBooks,
    InvoiceBooks,
    KafkaBooks,
    Reading,
    Window,
)
from headrace.ops.audit.evidence.registry import RegistryReader
from headrace.ops.audit.report import Report, Verdict
from streams.events import MAX_DEADLINE_MS
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import ENTRANCES
from streams.redis.connection import connect
from streams.settings import Settings
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS, LEDGER, LOGS, RETRIES

#: Requests are known from so long before the window: their replies fall into it.
RUN_UP_MS = 10 * 60 * 1000
#: How far the clocks of those who write records may differ.
SKEW_MS = 60_000
_BOOK_TOPICS = (LOGS.name, LEDGER.name, DEAD_LETTERS.name, DEAD_LETTER_ACTIONS.name, RETRIES.name)
_ENTRANCES = tuple(topic.name for topic in ENTRANCES)
_MAX_REPLY_TOPICS = 200


class Auditor:
    """One audit. Each `look` reads only what has come since the one before.

    The order matters, for everything moves on meanwhile: the invoice first, so that every call on it can be
    in the books; then how far the consumer groups have come, so that what they had finished must be in what
    is read next; ClickHouse before Kafka, so that every row's request is known; the requests last of all.

    Args:
        settings: where the parts are.
        window: the time whose requests are audited.
        simulator: the provider simulator's address; None where there is none.
        clock_ms: the time, Unix ms.
    """

    def __init__(
        self,
        settings: Settings,
        window: Window,
        *,
        simulator: str | None,
        clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._settings = settings
        self._window = window
        self._simulator = simulator
        self._clock_ms = clock_ms
        self._kafka = KafkaReader(settings.kafka_bootstrap, timeout_s=settings.kafka_timeout_s)
        self._redis: Redis = connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        self._http: httpx.AsyncClient = clickhouse_books.client(settings.clickhouse_timeout_s)
        self._clickhouse = ClickHouseReader(
            self._http, settings.clickhouse_url, database=settings.clickhouse_database
        )
        self._registry = RegistryReader(self._redis)
        self._books = KafkaBooks()
        self._scribe = Scribe(
            self._books,
            window,
            default_deadline_ms=settings.default_deadline_ms,
            auth=RecordAuth.from_settings(settings),
        )

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            KafkaUnavailable: no broker answers in time.
        """
        try:
            await self._kafka.__aenter__()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._kafka.stop()
        await self._close()

    async def report(self) -> Report:
        """Read, and report.

        What looks wrong is read once more: a reply may have been written between two of the readings.

        Raises:
            KafkaUnavailable: no broker answers in time.
            StoreUnavailable: Redis does not.
            ClickHouseUnavailable: ClickHouse does not.
            InvoiceUnavailable: the simulator does not.
        """
        begun = time.monotonic()
        report = balance(await self.look(), took_s=time.monotonic() - begun)
        if report.verdict is Verdict.UNBALANCED:
            report = balance(await self.look(), took_s=time.monotonic() - begun)
        return report

    async def look(self) -> Books:
        """Read what has come, and return all books."""
        invoice = await self._invoice()
        taken_at_ms = self._clock_ms()
        await self._kafka.refresh_topics()
        await self._read_positions()
        clickhouse = await self._clickhouse.read(self._window)
        await self._read_topics()
        books = Books(
            window=self._window,
            taken_at_ms=taken_at_ms,
            kafka=self._books,
            registry=await self._registry.read(undecided(self._books, since_ms=self._window.since_ms)),
            clickhouse=clickhouse,
            invoice=invoice,
        )
        await self._look_up(books, clickhouse)
        return books

    async def _invoice(self) -> InvoiceBooks | None:
        if self._simulator is None:
            return None
        return await read_invoice(self._http, self._simulator, since_ms=self._window.since_ms - SKEW_MS)

    async def _read_positions(self) -> None:
        positions = await Positions.read(self._kafka)
        self._books.stages = positions.stages
        self._books.sink = positions.sink
        self._books.retrying = positions.retrying

    async def _read_topics(self) -> None:
        since_ms, until_ms = self._window.since_ms, self._window.until_ms
        last_ms = None if until_ms is None else until_ms + SKEW_MS

        async def read_requests() -> None:
            await self._kafka.read(
                _ENTRANCES, self._scribe.take, since_ms=since_ms - RUN_UP_MS, until_ms=last_ms
            )

        await read_requests()
        topics = (*_BOOK_TOPICS, *sorted(self._scribe.reply_topics)[:_MAX_REPLY_TOPICS])
        await self._kafka.read(topics, self._scribe.take, since_ms=since_ms - SKEW_MS)
        await read_requests()
        self._note_readings((*_ENTRANCES, *topics))

    def _note_readings(self, topics: Iterable[str]) -> None:
        for topic in topics:
            stretches = [each for place, each in self._kafka.stretches.items() if place.topic == topic]
            cut = [each.first_ms for each in stretches if each.truncated and each.first_ms is not None]
            self._books.readings[topic] = Reading(
                topic=topic,
                records=sum(each.records for each in stretches),
                last_ms=max((each.last_ms for each in stretches if each.last_ms is not None), default=None),
                # What was deleted from the run-up is not missed.
                truncated_ms=max((each for each in cut if each > self._window.since_ms), default=None),
                gone=not self._kafka.has(topic),
            )

    async def _look_up(self, books: Books, clickhouse: ClickHouseBooks) -> None:
        """Ask ClickHouse by id for what the window alone does not show.

        Rows of requests whose senders named an earlier `accepted_at`; what is known of strangers to the
        topics for requests; calls of requests that were accepted before the window.
        """
        without_row = [
            request_id
            for request_id, request in self._books.requests.items()
            if request.inside and request_id in self._books.logs and request_id not in clickhouse.rows
        ]
        await self._clickhouse.add_requests(clickhouse, [*without_row, *strangers(books)])
        since_ms = self._window.since_ms - MAX_DEADLINE_MS - SKEW_MS
        await self._clickhouse.add_calls(clickhouse, unbooked(books), since_ms=since_ms)

    async def _close(self) -> None:
        await self._redis.aclose()
        await self._http.aclose()

"""Reads `llm.feedback.v1` in a group of its own, settles its records, and commits what is settled.

Scores go into ClickHouse, and what cannot be a score to the dead letters. The consumer polls all the time, so
that it stays in its group while ClickHouse is down or feedback waits for the rows of its requests; one batch
at a time is settled in a task beside it. While too much is pending it only polls.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from functools import partial

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.clickhouse import ClickHouse
from analytics.erasure.late_rows import LateRowErasure
from analytics.feedback.pending_feedback import PendingFeedback, PendingLimits, PendingRecord
from analytics.feedback.scores import (
    SCORES,
    Found,
    ParsedFeedback,
    find_requests,
    parsed_feedback,
    request_of,
    row_of,
)
from analytics.lags import SinkProgress
from analytics.schema.cluster import sync_replica
from analytics.sink.batches import ConsumedRecord, InsertBlock
from analytics.sink.consumer import BatchConsumer, ConsumerConfig
from analytics.sink.rows import REQUESTS, Row
from analytics.sink.writer import TextRules, insert_block, publish_dead_letter
from analytics.status import Clock, FeedbackStatus, utc_now
from streams.erasure import ErasureFeed, Subject
from streams.errors import InputError, InvalidRequest, KafkaUnavailable
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import FEEDBACK
from streams.publisher import Publisher
from streams.request_rules.feedback import STAGE
from streams.settings import Settings
from streams.tasks import cancel_and_wait, unless_stopped

_CLIENT = "headrace.feedback"
_POLL_MS = 200
#: What comes is answered at once all the same; the sink, which works in batches, asks ten times as often.
_FETCH_WAIT_MS = 500
_BATCH_RECORDS = 1_000
_HANDOVER_S = 5.0  # for the batch in hand at a rebalance or at the end; what is not done is done again

#: The sink is given so long, in seconds, to store what was written before a deadline. Else feedback would be
#: kept by the few records that are always under way.
_SINK_MARGIN_S = 15.0


@dataclass(eq=False)
class ScoreWriter:
    """Settles records, and waits where ClickHouse or Kafka is away.

    Settling a record again changes nothing: its score has the same id and the same time.
    """

    clickhouse: ClickHouse
    publisher: Publisher
    progress: SinkProgress
    status: FeedbackStatus
    _: KW_ONLY
    erasures: ErasureFeed | None
    text: TextRules = field(default_factory=TextRules)
    sink_margin_s: float = _SINK_MARGIN_S
    clock: Clock = utc_now

    async def settle(
        self,
        entries: Sequence[PendingRecord],
        *,
        overdue: Callable[[Sequence[PendingRecord], float], list[PendingRecord]],
    ) -> list[PendingRecord]:
        """Return those that are settled: their scores are stored, or they are dead letters.

        The others have no row of their request yet. `overdue` tells which have waited long enough at a time
        (Unix seconds).
        """
        erasure = LateRowErasure(self.clickhouse, self.erasures, self.status)
        faults = {entry: entry.parsed for entry in entries if isinstance(entry.parsed, InputError)}
        judged = {entry: entry.parsed for entry in entries if isinstance(entry.parsed, ParsedFeedback)}
        # First how far the sink is, then the rows: whatever was stored by then is seen.
        until = self.clock() - timedelta(seconds=self.sink_margin_s)
        unmatched = await self._unmatched(overdue(list(judged), until.timestamp()), until)
        everywhere = [said for entry, said in judged.items() if entry.tries == 0 or entry in unmatched]
        find = partial(find_requests, self.clickhouse, list(judged.values()), everywhere=everywhere)
        found = await self.status.retry("clickhouse", find)
        # The list after the rows: a row that has a pseudonym already has it from an erasure on this list.
        erasures = await erasure.current()
        rows: dict[PendingRecord, Row | None] = {}
        subjects: set[Subject] = set()
        for entry, said in judged.items():
            facts = request_of(said, found.get(said.feedback.request_id, ()))
            if facts is not None:
                subject = Subject(facts.tenant, facts.user_id)
                subjects.add(subject)
                rows[entry] = row_of(
                    said,
                    facts,
                    ingested_at=self.clock(),
                    keep_comment=self.text.keep(facts.tenant),
                    erasure=erasures.find(subject) or erasures.behind(subject),
                )
            elif entry in unmatched:
                faults[entry] = _unknown(said, found)
        faults |= await self._store({entry: row for entry, row in rows.items() if row is not None})
        await erasure.after_writing(subjects)
        for entry, fault in faults.items():
            await publish_dead_letter(
                self.publisher, entry.record, stage=STAGE, fault=fault, status=self.status
            )
        written = [entry for entry in rows if entry not in faults]
        erased = sum(rows[entry] is None for entry in written)
        self.status.erased += erased
        self.status.scores += len(written) - erased
        return [*faults, *written]

    async def _unmatched(self, overdue: Sequence[PendingRecord], until: datetime) -> set[PendingRecord]:
        """Return those of them that a row will not come for: all that were logged until then are stored."""
        if not overdue:
            return set()
        if not await self.status.retry("kafka", partial(self.progress.stored_before, until)):
            return set()
        # Where another replica has stored them.
        await self.status.retry("clickhouse", partial(sync_replica, self.clickhouse, [REQUESTS.name]))
        return set(overdue)

    async def _store(self, rows: Mapping[PendingRecord, Row]) -> dict[PendingRecord, InputError]:
        if not rows:
            return {}
        entries, values = list(rows), list(rows.values())
        # Named by what is in it, so that a try whose answer was lost is recognised, and nothing else is.
        digest = hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()
        block = InsertBlock(table=SCORES, rows=values, sources=range(len(values)), token=f"scores:{digest}")
        refused = await insert_block(self.clickhouse, block, self.status)
        return {entries[each.source]: each.fault for each in refused}


def _unknown(judgement: ParsedFeedback, found: Found) -> InvalidRequest:
    """Return why feedback cannot become a score: its request is not there, or is somebody else's."""
    request_id = judgement.feedback.request_id
    if found.get(request_id):
        return InvalidRequest(
            f"the request {request_id} is not one of the tenant {judgement.tenant}: name its own tenant",
            code="wrong_tenant",
            param="tenant",
        )
    return InvalidRequest(
        f"the tenant {judgement.tenant} has no request {request_id}: none ended while the feedback waited "
        "(HEADRACE_FEEDBACK_WAIT_S), or it was deleted. If it has ended since, replay this",
        code="request_not_found",
        param="request_id",
    )


class FeedbackConsumer(BatchConsumer):
    """Turns the topic's records into scores until it is told to stop."""

    _status: FeedbackStatus

    def __init__(
        self,
        config: ConsumerConfig,
        limits: PendingLimits,
        writer: ScoreWriter,
        status: FeedbackStatus,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config, status)
        self._pending = PendingFeedback(limits)
        self._writer = writer
        self._clock = clock
        self._work: asyncio.Task[None] | None = None
        self._committed: dict[tuple[str, int], int] = {}

    async def _work_until(self, stop: asyncio.Event) -> None:
        await unless_stopped(stop, self._poll_forever())
        await self._hand_over()

    async def _close(self) -> None:
        if self._work is not None:
            await cancel_and_wait(self._work)

    async def _poll_forever(self) -> None:
        while True:
            wanted = () if self._pending.full else self._consumer.assignment()
            for records in (await self._fetch(wanted, wait_ms=_POLL_MS)).values():
                for record in records:
                    self._take(ConsumedRecord.of(record, self._config.auth))
            await self._settle_next()
            self._status.pending(len(self._pending), self._pending.oldest_at)

    def _take(self, record: ConsumedRecord) -> None:
        try:
            parsed: ParsedFeedback | InputError = parsed_feedback(record)
        except InputError as fault:
            parsed = fault
        self._pending.add(record, parsed, self._clock())
        self._status.records += 1

    async def _settle_next(self) -> None:
        if self._work is not None:
            if not self._work.done():
                return
            if not self._work.cancelled():
                self._work.result()  # a bug ends the reader, and is told
            self._work = None
        await self._commit()
        if batch := self._pending.due(self._clock(), most=_BATCH_RECORDS):
            self._work = asyncio.create_task(self._settle(batch))

    async def _settle(self, batch: list[PendingRecord]) -> None:
        settled = await self._writer.settle(batch, overdue=self._pending.overdue)
        self._pending.settled(settled)
        self._pending.postpone([entry for entry in batch if not entry.settled], self._clock())

    async def _commit(self) -> None:
        """Commit the offset of the first record of each partition that is not settled.

        Where that fails it is tried again after the next poll: nothing depends on it but what comes twice.
        """
        behind = {
            place: offset
            for place, offset in self._pending.positions().items()
            if self._committed.get(place) != offset
        }
        if not behind:
            return
        commit = {TopicPartition(*place): OffsetAndMetadata(offset, "") for place, offset in behind.items()}
        try:
            await self._try_commit(commit)
        except KafkaUnavailable as fault:
            self._status.failed("kafka_commit", str(fault))
        else:
            self._status.recovered("kafka_commit")
            self._committed |= behind

    async def _hand_over(self) -> None:
        work = self._work  # the loop may begin another one meanwhile
        if work is not None:
            await asyncio.wait((work,), timeout=_HANDOVER_S)
            if not work.done():
                await cancel_and_wait(work)
            elif not work.cancelled():
                work.result()
        await self._commit()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let go of everything: partitions that stay with us are read again from what is committed."""
        del revoked  # aiokafka rebalances eagerly: it is always all of them
        await self._hand_over()
        self._pending.forget()
        self._committed.clear()


async def read_feedback(
    settings: Settings, status: FeedbackStatus, stop: asyncio.Event, clickhouse: ClickHouse
) -> None:
    """Turn feedback into scores until `stop` is set."""
    bootstrap, timeout_s = settings.kafka_bootstrap, settings.kafka_timeout_s
    auth = RecordAuth.from_settings(settings)
    publisher = Publisher(bootstrap, client_id=_CLIENT, timeout_s=timeout_s, auth=auth)
    if not await unless_stopped(stop, status.retry("kafka", publisher.start)):
        return
    progress = SinkProgress(bootstrap, timeout_s=timeout_s)
    erasures = ErasureFeed(bootstrap, client_id=_CLIENT, timeout_s=timeout_s, auth=auth)
    writer = ScoreWriter(
        clickhouse,
        publisher,
        progress,
        status,
        erasures=erasures,
        text=TextRules(default=settings.store_text, by_tenant=settings.text_by_tenant),
    )
    try:
        config = ConsumerConfig.of(settings, FEEDBACK, fetch_wait_ms=_FETCH_WAIT_MS)
        limits = PendingLimits(wait_s=settings.feedback_wait_s)
        await FeedbackConsumer(config, limits, writer, status).run(stop)
    finally:
        await erasures.aclose()
        await progress.close()
        await publisher.stop()

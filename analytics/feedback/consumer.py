"""Reads `llm.feedback.v1` in a group of its own, and commits what is settled.

It polls all the time, so that it stays in its group while ClickHouse is down or feedback waits for the rows
of its requests; one batch at a time is settled in a task beside it. While too much is pending it only polls.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.clickhouse import ClickHouse
from analytics.feedback.pending_feedback import PendingFeedback, PendingLimits, PendingRecord
from analytics.feedback.scores import ParsedFeedback, parsed_feedback
from analytics.feedback.writer import ScoreWriter
from analytics.lags import SinkProgress
from analytics.sink.batches import ConsumedRecord
from analytics.sink.consumer import BatchConsumer, ConsumerConfig, record_of
from analytics.sink.writer import TextRules
from analytics.status import FeedbackStatus
from streams.erasure import ErasureFeed
from streams.errors import InputError, KafkaUnavailable
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import FEEDBACK
from streams.publisher import Publisher
from streams.settings import Settings
from streams.tasks import cancel_and_wait, unless_stopped

_POLL_MS = 200
_BATCH_RECORDS = 1_000
_HANDOVER_S = 5.0  # for the batch in hand at a rebalance or at the end; what is not done is done again


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
                    self._take(record_of(record, self._config.auth))
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


_CLIENT = "headrace.feedback"
#: What comes is answered at once all the same; the sink, which works in batches, asks ten times as often.
_FETCH_WAIT_MS = 500


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
        await erasures.close()
        await progress.close()
        await publisher.stop()

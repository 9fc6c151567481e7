"""Settles feedback: scores into ClickHouse, and what cannot be a score to the dead letters."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from analytics.clickhouse import ClickHouse
from analytics.erasure.late_rows import LateRowErasure
from analytics.feedback.pending_feedback import PendingRecord
from analytics.feedback.scores import SCORES, Found, ParsedFeedback, find_requests, request_of, row_of
from analytics.lags import SinkProgress
from analytics.schema.cluster import sync_replica
from analytics.sink.batches import InsertBlock
from analytics.sink.rows import REQUESTS, Row
from analytics.sink.writer import TextRules, insert_block, publish_dead_letter
from analytics.status import Clock, FeedbackStatus, utc_now
from streams.erasure import ErasureFeed, Subject
from streams.errors import InputError, InvalidRequest
from streams.publisher import Publisher
from streams.request_rules.feedback import STAGE

#: The sink is given so long, in seconds, to store what was written before a deadline. Else feedback would be
#: kept by the few records that are always under way.
_SINK_MARGIN_S = 15.0


class ScoreWriter:
    """Settles records, and waits where ClickHouse or Kafka is away.

    Settling a record again changes nothing: its score has the same id and the same time.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        publisher: Publisher,
        progress: SinkProgress,
        status: FeedbackStatus,
        *,
        erasures: ErasureFeed | None,
        text: TextRules = TextRules(),  # noqa: B008  # a frozen value
        sink_margin_s: float = _SINK_MARGIN_S,
        clock: Clock = utc_now,
    ) -> None:
        self._clickhouse = clickhouse
        self._publisher = publisher
        self._progress = progress
        self._status = status
        self._erasure = LateRowErasure(clickhouse, erasures, status)
        self._text = text
        self._sink_margin = timedelta(seconds=sink_margin_s)
        self._clock = clock

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
        faults = {entry: entry.parsed for entry in entries if isinstance(entry.parsed, InputError)}
        judged = {entry: entry.parsed for entry in entries if isinstance(entry.parsed, ParsedFeedback)}
        # First how far the sink is, then the rows: whatever was stored by then is seen.
        until = self._clock() - self._sink_margin
        unmatched = await self._unmatched(overdue(list(judged), until.timestamp()), until)
        everywhere = [said for entry, said in judged.items() if entry.tries == 0 or entry in unmatched]
        find = partial(find_requests, self._clickhouse, list(judged.values()), everywhere=everywhere)
        found = await self._status.retry("clickhouse", find)
        # The list after the rows: a row that has a pseudonym already has it from an erasure on this list.
        erasures = await self._erasure.current()
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
                    ingested_at=self._clock(),
                    keep_comment=self._text.keep(facts.tenant),
                    erasure=erasures.find(subject) or erasures.behind(subject),
                )
            elif entry in unmatched:
                faults[entry] = _unknown(said, found)
        faults |= await self._store({entry: row for entry, row in rows.items() if row is not None})
        await self._erasure.after_writing(subjects)
        for entry, fault in faults.items():
            await publish_dead_letter(
                self._publisher, entry.record, stage=STAGE, fault=fault, status=self._status
            )
        written = [entry for entry in rows if entry not in faults]
        erased = sum(rows[entry] is None for entry in written)
        self._status.erased += erased
        self._status.scores += len(written) - erased
        return [*faults, *written]

    async def _unmatched(self, overdue: Sequence[PendingRecord], until: datetime) -> set[PendingRecord]:
        """Return those of them that a row will not come for: all that were logged until then are stored."""
        if not overdue:
            return set()
        if not await self._status.retry("kafka", partial(self._progress.stored_before, until)):
            return set()
        # Where another replica has stored them.
        await self._status.retry("clickhouse", partial(sync_replica, self._clickhouse, [REQUESTS.name]))
        return set(overdue)

    async def _store(self, rows: Mapping[PendingRecord, Row]) -> dict[PendingRecord, InputError]:
        if not rows:
            return {}
        entries, values = list(rows), list(rows.values())
        # Named by what is in it, so that a try whose answer was lost is recognised, and nothing else is.
        digest = hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()
        block = InsertBlock(table=SCORES, rows=values, sources=range(len(values)), token=f"scores:{digest}")
        refused = await insert_block(self._clickhouse, block, self._status)
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

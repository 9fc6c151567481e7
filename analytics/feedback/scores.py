"""Feedback as rows of `scores_raw`, and the requests that it is about.

Requests are looked up in ClickHouse, many at once. Rows are sorted by the hour of acceptance; a bloom filter
finds an id alone, which is of use for a few ids, and not for hundreds. So the hour narrows the search: from
the sender's `accepted_at`, or else because most feedback comes within two days.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from analytics.clickhouse import ClickHouse, instant
from analytics.sink.batches import ConsumedRecord
from analytics.sink.rows import Row, Table
from streams.codec import decode
from streams.errors import InvalidRequest
from streams.events import Erasure, FeedbackGiven
from streams.redelivery import redelivery
from streams.request_rules.feedback import score_id_of, scored_at_of, value_of
from streams.times import EPOCH, micros

#: Who names no tenant is this one's, as for requests that come over Kafka (`agents.intake.intake`).
DEFAULT_TENANT = "default"

_END = datetime(2149, 6, 6, tzinfo=UTC)  # the last day that ClickHouse's `Date` holds
_END_MS = (_END - EPOCH) // timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_RECENT = timedelta(days=2)
_IDS_A_QUERY = 200  # parameters travel in the URL

SCORES = Table(
    name="scores_raw",
    columns=(
        *("request_id", "score_id", "tenant", "user_id", "accepted_at", "scored_at"),
        *("name", "value", "label"),
        *("source", "scorer", "comment", "model", "prompt_template", "prompt_version", "experiment", "arm"),
        "ingested_at",
    ),
)


#: The newest copy of each row, as the view has it, but for these requests alone.
_SQL = """
SELECT
    request_id, tenant, user_id, accepted_at, model, prompt_template, prompt_version, experiment, arm
FROM requests_raw
WHERE request_id IN {request_ids:Array(String)}
    AND accepted_at >= {since:DateTime64(6, 'UTC')}
    AND accepted_at < {until:DateTime64(6, 'UTC')}
ORDER BY ingested_at DESC
LIMIT 1 BY tenant, request_id, toStartOfHour(accepted_at)
"""


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a score that come from its request."""

    request_id: str
    tenant: str
    user_id: str
    accepted_at: datetime
    model: str
    prompt_template: str
    prompt_version: str
    experiment: str
    arm: str


#: The requests of all tenants that have an id, by id.
Found = Mapping[str, Sequence[RequestFacts]]


class ParsedFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """Valid feedback, before its request is looked up."""

    feedback: FeedbackGiven
    tenant: str
    score_id: str
    value: Decimal
    scored_at: datetime


def parsed_feedback(record: ConsumedRecord) -> ParsedFeedback:
    """Return the feedback of a record, the same at each delivery; `InputError` where it is none."""
    feedback = decode(record.value, FeedbackGiven, record.headers)
    again = redelivery(record.headers).believed_of(topic=record.topic, timestamp_ms=record.timestamp_ms)
    # A dead letter that is replayed was written when it was written first.
    written_ms = record.timestamp_ms if again.timestamp_ms is None else again.timestamp_ms
    written_at = EPOCH + timedelta(milliseconds=min(max(written_ms, 0), _END_MS))
    scored_at = scored_at_of(feedback, written_at=written_at)
    _check_time(scored_at, "scored_at")
    if feedback.accepted_at is not None:
        _check_time(feedback.accepted_at, "accepted_at")
    return ParsedFeedback(
        feedback=feedback,
        tenant=feedback.tenant or DEFAULT_TENANT,
        score_id=score_id_of(feedback),
        value=value_of(value=feedback.value, label=feedback.label),
        scored_at=scored_at,
    )


async def find_requests(
    clickhouse: ClickHouse,
    judgements: Collection[ParsedFeedback],
    *,
    everywhere: Collection[ParsedFeedback],
) -> Found:
    """Return the requests with these judgements' ids, from where they most likely are.

    Those of `everywhere` that are not there are then looked for in all rows.
    """
    found: dict[str, list[RequestFacts]] = {}
    for (since, until), request_ids in _windows(judgements).items():
        await _look(clickhouse, request_ids, since, until, found)
    missing = {
        each.feedback.request_id
        for each in everywhere
        if not any(facts.tenant == each.tenant for facts in found.get(each.feedback.request_id, ()))
    }
    await _look(clickhouse, missing, EPOCH, _END, found)
    return found


async def _look(
    clickhouse: ClickHouse,
    request_ids: Iterable[str],
    since: datetime,
    until: datetime,
    found: dict[str, list[RequestFacts]],
) -> None:
    wanted = sorted(request_ids)
    for begin in range(0, len(wanted), _IDS_A_QUERY):
        some = wanted[begin : begin + _IDS_A_QUERY]
        parameters = {"request_ids": some, "since": instant(since), "until": instant(until)}
        for row in await clickhouse.query(_SQL, parameters):
            facts = RequestFacts(**row | {"accepted_at": row["accepted_at"].replace(tzinfo=UTC)})
            known = found.setdefault(facts.request_id, [])
            if facts not in known:
                known.append(facts)


def _windows(judgements: Iterable[ParsedFeedback]) -> dict[tuple[datetime, datetime], set[str]]:
    """Return where to look for which ids first: the day that is named, or those before the judgement."""
    windows: dict[tuple[datetime, datetime], set[str]] = {}
    for each in judgements:
        named = each.feedback.accepted_at
        if named is not None:
            since = _midnight(named)
            window = (since, since + _DAY)
        else:
            # Its day and the next: the request may end, and be judged, on clocks that differ.
            until = _midnight(each.scored_at) + 2 * _DAY
            window = (until - 2 * _DAY - _RECENT, until)
        windows.setdefault(window, set()).add(each.feedback.request_id)
    return windows


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def request_of(judgement: ParsedFeedback, found: Iterable[RequestFacts]) -> RequestFacts | None:
    """Return the request of feedback; None where the tenant has none of this id.

    An id may be used again once the registry has forgotten it. Then it is the request that was accepted at
    the time that the sender names, or else the last one before the score: always the same one.
    """
    own = [each for each in found if each.tenant == judgement.tenant]
    if not own:
        return None
    named = judgement.feedback.accepted_at
    if named is not None:
        return min(own, key=lambda each: abs(each.accepted_at - named))
    before = [each for each in own if each.accepted_at <= judgement.scored_at]
    if before:
        return max(before, key=lambda each: each.accepted_at)
    return min(own, key=lambda each: each.accepted_at)


def row_of(
    judgement: ParsedFeedback,
    facts: RequestFacts,
    *,
    ingested_at: datetime,
    keep_comment: bool,
    erasure: Erasure | None,
) -> Row | None:
    """Return the row of a score; None where the erasure of the request's user leaves none.

    `erasure` is that of the request's user, whatever it covers; `keep_comment` says whether the tenant allows
    texts.
    """
    user_id = facts.user_id
    if erasure is not None and facts.accepted_at <= erasure.until:
        if erasure.mode == "delete":
            return None
        user_id, keep_comment = erasure.pseudonym, False
    feedback = judgement.feedback
    return (
        *(feedback.request_id, judgement.score_id, judgement.tenant, user_id),
        *(micros(facts.accepted_at), micros(judgement.scored_at)),
        *(feedback.name, judgement.value, feedback.label, feedback.source, feedback.scorer),
        feedback.comment if keep_comment else "",
        *(facts.model, facts.prompt_template, facts.prompt_version, facts.experiment, facts.arm),
        micros(ingested_at),
    )


def _check_time(at: datetime, field: str) -> None:
    if not EPOCH <= at < _END:
        raise InvalidRequest(f"{field} is {at.isoformat()}: not between 1970 and 2149", param=field)

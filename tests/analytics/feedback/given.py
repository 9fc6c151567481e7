"""Feedback as records of its topic, and what else the tests of its reader need."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics.feedback.pending_feedback import PendingRecord
from analytics.feedback.scores import ParsedFeedback, RequestFacts, parsed_feedback
from analytics.sink.batches import ConsumedRecord
from streams.codec import encode
from streams.erasure import ErasureList
from streams.errors import InputError, RecordTooLarge
from streams.events import FeedbackGiven
from streams.publisher import Emit, Position
from streams.topics import FEEDBACK
from tests.analytics.logs import NOON

#: When the records of the tests were written: an hour after their requests.
WRITTEN_AT = NOON + timedelta(hours=1)


def feedback(request_id: str = "r-1", **fields: Any) -> FeedbackGiven:
    """A thumb up of the tenant that the tests' log records have."""
    return FeedbackGiven(request_id=request_id, **{"tenant": "acme", "label": "up", **fields})


def record(said: FeedbackGiven | bytes, *, offset: int = 0, **fields: Any) -> ConsumedRecord:
    """A record of the topic."""
    given: dict[str, Any] = {
        "topic": FEEDBACK.name,
        "partition": 0,
        "offset": offset,
        "timestamp_ms": int(WRITTEN_AT.timestamp() * 1000),
        "value": said if isinstance(said, bytes) else encode(said),
    }
    return ConsumedRecord(**given | fields)


def judged(said: FeedbackGiven, **fields: Any) -> ParsedFeedback:
    """What a record says."""
    return parsed_feedback(record(said, **fields))


def facts(request_id: str = "r-1", **fields: Any) -> RequestFacts:
    """What a score has from its request."""
    given: dict[str, Any] = {
        "tenant": "acme",
        "user_id": "ann",
        "accepted_at": NOON,
        "model": "gpt-4o",
        "prompt_template": "support",
        "prompt_version": "3",
        "experiment": "",
        "arm": "",
    }
    return RequestFacts(request_id=request_id, **given | fields)


def entry(said: ConsumedRecord, *, tries: int = 0) -> PendingRecord:
    """A record in the waiting room."""
    try:
        what: ParsedFeedback | InputError = parsed_feedback(said)
    except InputError as fault:
        what = fault
    return PendingRecord(record=said, parsed=what, seen_at=0, deadline_at=0, due_at=0, tries=tries)


def nobody_is_late(entries: Sequence[PendingRecord], now: float) -> list[PendingRecord]:
    """All may wait on."""
    del entries, now
    return []


def all_are_late(entries: Sequence[PendingRecord], now: float) -> list[PendingRecord]:
    """None may wait on."""
    del now
    return list(entries)


@dataclass
class Letters:
    """A publisher that keeps what it is given."""

    sent: list[Emit] = field(default_factory=list)
    too_large: bool = False

    async def publish(self, emit: Emit) -> Position:
        if self.too_large:
            raise RecordTooLarge("8 MiB")
        self.sent.append(emit)
        return Position(emit.topic, 0, len(self.sent) - 1)

    @property
    def reasons(self) -> list[str]:
        return [dict(emit.headers)["__streams.errors.message"].decode() for emit in self.sent]


@dataclass
class Stored:
    """How far the sink is said to be."""

    complete: bool = True
    asked: list[datetime] = field(default_factory=list)

    async def stored_before(self, at: datetime) -> bool:
        assert at < datetime.now(UTC)
        self.asked.append(at)
        return self.complete


@dataclass
class Known:
    """The list of erasures, one answer after the other; the last one stays."""

    lists: list[ErasureList] = field(default_factory=lambda: [ErasureList()])

    async def current(self) -> ErasureList:
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]

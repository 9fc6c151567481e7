"""From records to books: what each topic's records say of the requests. Pure, one record at a time."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents.intake.delivery_identity import deadline_of, request_id_of
from agents.intake.reply_address import correlation_id_of, may_be_named
from agents.stage import Record
from headrace.ops.audit.evidence.records import (
    NO_CORRELATION,
    Charge,
    DeadLetter,
    KafkaBooks,
    Log,
    Malformed,
    Request,
    Retry,
    Submission,
    Terminal,
    Window,
    nano_usd,
)
from streams.codec import decode, header, header_text
from streams.dead_letters import PREFIX as _ERRORS
from streams.errors import UnauthenticRecord, UndecodableRecord
from streams.events import ErrorInfo, Requested
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import ENTRANCES, TOPICS
from streams.redelivery import redelivery
from streams.registry.registry import TOO_MANY_REPEATS
from streams.topics import (
    DEAD_LETTER_ACTIONS,
    DEAD_LETTERS,
    LEDGER,
    LOGS,
    REPLIES,
    RETRIES,
)

#: What each of the topics carries where requests come in.
_EVENTS: dict[str, Any] = {topic.name: topic.event for topic in ENTRANCES}
#: What `agents.intake.intake` says to a repeat that is refused, while the request itself goes on.
_REFUSALS = ("idempotency_conflict", TOO_MANY_REPEATS)


class _Reply(msgspec.Struct, frozen=True):
    request_id: str
    status: str
    content: str = ""
    cost_usd: Decimal = Decimal(0)
    error: ErrorInfo | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    embeddings: msgspec.Raw = msgspec.Raw()
    accepted_at: datetime | None = None
    repeat: bool = False
    replay: int = 0


class _Call(msgspec.Struct, frozen=True):
    call_id: str


class _Log(msgspec.Struct, frozen=True):
    request_id: str
    accepted_at: datetime
    cost_usd: Decimal = Decimal(0)
    calls: tuple[_Call, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    entry_id: str
    request_id: str
    kind: str
    amount_usd: Decimal
    replay: int = 0


class _Action(msgspec.Struct, frozen=True):
    dead_letter: str
    action: str


_reply = msgspec.json.Decoder(_Reply)
_log = msgspec.json.Decoder(_Log)
_entry = msgspec.json.Decoder(_Entry)
_action = msgspec.json.Decoder(_Action)

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)


class Scribe:
    """Enters records into the books.

    Args:
        books: the books.
        window: the time whose requests are audited.
        default_deadline_ms: of requests that name no deadline, as in the settings.
        auth: tells which records Headrace wrote: on topics of its own, others are in no book.
    """

    def __init__(
        self,
        books: KafkaBooks,
        window: Window,
        *,
        default_deadline_ms: int,
        auth: RecordAuth = UNSIGNED,
    ) -> None:
        self._auth = auth
        self._books = books
        self._window = window
        self._default_deadline_ms = default_deadline_ms
        self.reply_topics: set[str] = {REPLIES.name}
        self._malformed_ids: set[str] = set()
        self._takers: dict[str, Callable[[ConsumerRecord], None]] = {
            **dict.fromkeys(_EVENTS, self._take_request),
            LOGS.name: self._take_log,
            LEDGER.name: self._take_entry,
            DEAD_LETTERS.name: self._take_dead_letter,
            DEAD_LETTER_ACTIONS.name: self._take_action,
            RETRIES.name: self._take_retry,
        }

    def take(self, record: ConsumerRecord) -> None:
        """Enter a record of any topic that is read."""
        topic = TOPICS.get(record.topic)
        if topic is not None and not topic.open and not self._auth.wrote(record):
            self._books.unauthentic[topic.name] = self._books.unauthentic.get(topic.name, 0) + 1
            return
        try:
            self._takers.get(record.topic, self._take_reply)(record)
        except _UNREADABLE:
            undecodable = self._books.undecodable
            undecodable[record.topic] = undecodable.get(record.topic, 0) + 1

    def _take_request(self, found: ConsumerRecord) -> None:
        record = as_read(found, self._auth)
        submission = Submission(
            topic=found.topic, partition=found.partition, offset=found.offset, at_ms=record.written_ms
        )
        correlation = _correlation(record)
        inside = self._window.holds(record.written_ms)
        self._note_reply_topic(record)
        try:
            request: Requested = decode(record.value, _EVENTS[record.topic], record.headers)
        except UndecodableRecord:
            request_id = request_id_of(record)
            if request_id is not None:
                self._malformed_ids.add(request_id)
            self._books.malformed[record.address] = Malformed(
                address=record.address,
                request_id=request_id,
                correlation=correlation,
                submission=submission,
                inside=inside,
            )
            return
        request_id = request_id_of(record, request) or record.address
        deadline_ms = _milliseconds(
            deadline_of(record, request, default_deadline_ms=self._default_deadline_ms)
        )
        again = record.again
        known = self._books.requests.get(request_id)
        if known is None:
            self._books.requests[request_id] = Request(
                submissions={correlation: submission},
                deadline_ms=deadline_ms,
                inside=inside,
                replay=again.replay,
            )
            return
        if again.replay > known.replay:
            known.replay, known.deadline_ms = again.replay, deadline_ms
        if again.record is None:
            known.submissions.setdefault(correlation, submission)

    def _take_reply(self, found: ConsumerRecord) -> None:
        reply = _reply.decode(found.value or b"")
        ours = found.topic == REPLIES.name
        known = reply.request_id in self._books.requests or reply.request_id in self._malformed_ids
        if not ours and not known:
            return  # somebody else's topic may hold other things, too
        correlation = header(found.headers, "kafka_correlationId") or NO_CORRELATION
        accepted_at_ms = _milliseconds(reply.accepted_at) if reply.accepted_at else None
        refused = accepted_at_ms is None and reply.error is not None and reply.error.code in _REFUSALS
        if reply.repeat or refused:
            self._books.answers.setdefault(reply.request_id, set()).add(correlation)
            self._books.conflicts += refused
            if accepted_at_ms is not None:
                self._books.repeated[reply.request_id] = accepted_at_ms
            return
        self._enter_terminal(
            reply.request_id,
            Terminal(
                correlation=correlation,
                replay=reply.replay,
                status=reply.status,
                digest=hash(
                    (
                        *(reply.status, reply.content, reply.cost_usd, reply.error),
                        *(bytes(reply.tool_calls), bytes(reply.embeddings)),
                    )
                ),
                cost_nano=nano_usd(reply.cost_usd),
                at_ms=found.timestamp,
                accepted_at_ms=accepted_at_ms,
            ),
        )

    def _enter_terminal(self, request_id: str, reply: Terminal) -> None:
        known = self._books.terminals.setdefault(request_id, [])
        for each in known:
            same_reader = (each.correlation, each.replay) == (reply.correlation, reply.replay)
            if same_reader and each.digest == reply.digest:
                each.times += 1
                return
        known.append(reply)

    def _take_log(self, found: ConsumerRecord) -> None:
        log = _log.decode(found.value or b"")
        self._books.logs[log.request_id] = Log(
            partition=found.partition,
            offset=found.offset,
            accepted_at_ms=_milliseconds(log.accepted_at),
            cost_nano=nano_usd(log.cost_usd),
            call_ids=tuple(call.call_id for call in log.calls),
        )

    def _take_entry(self, found: ConsumerRecord) -> None:
        entry = _entry.decode(found.value or b"")
        if entry.kind != "settle":
            return
        amount_nano = nano_usd(entry.amount_usd)
        charges = self._books.charges.setdefault(entry.request_id, [])
        for charge in charges:
            if charge.entry_id == entry.entry_id:
                _book_again(charge, entry.replay, amount_nano)
                return
        charges.append(Charge(entry_id=entry.entry_id, replay=entry.replay, amount_nano=amount_nano))

    def _take_dead_letter(self, found: ConsumerRecord) -> None:
        headers = _headers(found)
        topic, *where = (
            header_text(headers, _ERRORS + name) or "?" for name in ("topic", "partition", "offset")
        )
        again = redelivery(headers).believed_of(topic=topic, timestamp_ms=found.timestamp)
        place = f"{found.partition}:{found.offset}"
        self._books.dead_letters[place] = DeadLetter(
            place=place,
            stage=header_text(headers, _ERRORS + "stage") or "?",
            record=again.record or ":".join((topic, *where)),
            request_id=request_id_of(as_read(found, self._auth)),
            inside=self._window.holds(found.timestamp),
            forged=header_text(headers, _ERRORS + "exception") == UnauthenticRecord.__name__,
        )

    def _take_action(self, found: ConsumerRecord) -> None:
        action = _action.decode(found.value or b"")
        self._books.actions[action.dead_letter] = action.action

    def _take_retry(self, found: ConsumerRecord) -> None:
        record = as_read(found, self._auth)
        self._books.retries.append(
            Retry(
                request_id=request_id_of(record),
                not_before_ms=redelivery(record.headers).not_before_ms,
                partition=found.partition,
                offset=found.offset,
            )
        )

    def _note_reply_topic(self, record: Record) -> None:
        named = header_text(record.headers, "kafka_replyTopic")
        if named and may_be_named(named):
            self.reply_topics.add(named)


def as_read(found: ConsumerRecord, auth: RecordAuth) -> Record:
    """Return a record as the stages see it: a copy that comes again is known by its first record's place."""
    return Record.read(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        timestamp_ms=found.timestamp,
        key=found.key,
        value=found.value,
        headers=found.headers,
        auth=auth,
    )


def _book_again(charge: Charge, replay: int, amount_nano: int) -> None:
    """Enter one more entry with the same id: the highest replay number counts."""
    if replay > charge.replay:
        charge.replay, charge.amount_nano = replay, amount_nano
    elif replay == charge.replay:
        charge.times += 1
        charge.contradictory |= amount_nano != charge.amount_nano


def _headers(found: ConsumerRecord) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value or b"") for name, value in found.headers)


def _correlation(record: Record) -> bytes:
    return correlation_id_of(record) or NO_CORRELATION


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)

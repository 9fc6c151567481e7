"""Turns records into evidence: what each topic's records say of the requests. Pure, one record at a time."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property

import msgspec
from aiokafka import ConsumerRecord

from agents.intake.envelopes import deadline_of, request_id_of
from agents.intake.replies import correlation_id_of, may_be_named
from headrace.ops.audit.evidence import (
    NO_CORRELATION,
    AcceptedRequest,
    AuditWindow,
    DeadLetter,
    KafkaEvidence,
    LedgerCharge,
    LogRecord,
    MalformedRecord,
    RetryRecord,
    Submission,
    TerminalReply,
    nano_usd,
)
from headrace.ops.dlq.letters import summary_of
from headrace.ops.topic_reader import REQUEST_EVENTS
from streams.codec import decode, header, header_text
from streams.errors import UnauthenticRecord, UndecodableRecord
from streams.events import DeadLetterAction, ErrorInfo, LedgerEntry, Requested, RequestLog
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import TOPICS
from streams.redelivery import Record, redelivery
from streams.registry.registry import TOO_MANY_REPEATS
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS, LEDGER, LOGS, REPLIES, RETRIES

#: Error codes of a repeat that is refused while the request itself goes on.
_REFUSALS = ("idempotency_conflict", TOO_MANY_REPEATS)


class _Reply(msgspec.Struct, frozen=True):
    """What is read of a reply. A reply topic of a sender's may hold other records, too."""

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


_reply = msgspec.json.Decoder(_Reply)

_UNREADABLE = (msgspec.DecodeError, UndecodableRecord, UnicodeDecodeError, RecursionError, ArithmeticError)


@dataclass(eq=False)
class RecordCollector:
    """Adds records to the evidence; on Headrace's own topics only those that it wrote; others are counted."""

    evidence: KafkaEvidence
    window: AuditWindow
    _: KW_ONLY
    default_deadline_ms: int
    auth: RecordAuth = UNSIGNED
    reply_topics: set[str] = field(default_factory=lambda: {REPLIES.name}, init=False)
    _malformed_ids: set[str] = field(default_factory=set, init=False)

    @cached_property
    def _adders(self) -> dict[str, Callable[[ConsumerRecord], None]]:
        return {
            **dict.fromkeys(REQUEST_EVENTS, self._add_request),
            LOGS.name: self._add_log,
            LEDGER.name: self._add_charge,
            DEAD_LETTERS.name: self._add_dead_letter,
            DEAD_LETTER_ACTIONS.name: self._add_action,
            RETRIES.name: self._add_retry,
        }

    def add(self, record: ConsumerRecord) -> None:
        """Add a record of any topic that is read."""
        topic = TOPICS.get(record.topic)
        if topic is not None and not topic.open and not self.auth.wrote(record):
            self.evidence.unauthentic[topic.name] += 1
            return
        try:
            self._adders.get(record.topic, self._add_reply)(record)
        except _UNREADABLE:
            self.evidence.undecodable[record.topic] += 1

    def _add_request(self, found: ConsumerRecord) -> None:
        record = Record.of(found, self.auth)
        submission = Submission(
            topic=found.topic, partition=found.partition, offset=found.offset, at_ms=record.written_ms
        )
        correlation = correlation_id_of(record) or NO_CORRELATION
        inside = self.window.contains(record.written_ms)
        reply_topic = header_text(record.headers, "kafka_replyTopic")
        if reply_topic and may_be_named(reply_topic):
            self.reply_topics.add(reply_topic)
        try:
            request: Requested = decode(record.value, REQUEST_EVENTS[record.topic], record.headers)
        except UndecodableRecord:
            request_id = request_id_of(record)
            if request_id is not None:
                self._malformed_ids.add(request_id)
            self.evidence.malformed[record.address] = MalformedRecord(
                request_id=request_id, correlation=correlation, submission=submission, inside=inside
            )
            return
        request_id = request_id_of(record, request) or record.address
        deadline = deadline_of(record, request, default_deadline_ms=self.default_deadline_ms)
        again = record.again
        known = self.evidence.requests.get(request_id)
        if known is None:
            self.evidence.requests[request_id] = AcceptedRequest(
                submissions={correlation: submission},
                deadline_ms=_milliseconds(deadline),
                inside=inside,
                replay=again.replay,
            )
            return
        if again.replay > known.replay:
            known.replay, known.deadline_ms = again.replay, _milliseconds(deadline)
        if again.record is None:
            known.submissions.setdefault(correlation, submission)

    def _add_reply(self, found: ConsumerRecord) -> None:
        reply = _reply.decode(found.value or b"")
        known = reply.request_id in self.evidence.requests or reply.request_id in self._malformed_ids
        if found.topic != REPLIES.name and not known:
            return  # a reply topic of a sender's may hold other records, too
        correlation = header(found.headers, "kafka_correlationId") or NO_CORRELATION
        accepted_at_ms = _milliseconds(reply.accepted_at) if reply.accepted_at else None
        refused = accepted_at_ms is None and reply.error is not None and reply.error.code in _REFUSALS
        if reply.repeat or refused:
            self.evidence.answers.setdefault(reply.request_id, set()).add(correlation)
            self.evidence.conflicts += refused
            if accepted_at_ms is not None:
                self.evidence.repeated[reply.request_id] = accepted_at_ms
            return
        parts = (reply.status, reply.content, reply.cost_usd, reply.error)
        digest = hash((*parts, bytes(reply.tool_calls), bytes(reply.embeddings)))
        terminals = self.evidence.terminals.setdefault(reply.request_id, [])
        for each in terminals:
            if (each.correlation, each.replay, each.digest) == (correlation, reply.replay, digest):
                each.times += 1
                return
        terminals.append(
            TerminalReply(
                correlation=correlation,
                replay=reply.replay,
                status=reply.status,
                digest=digest,
                cost_nano=nano_usd(reply.cost_usd),
                at_ms=found.timestamp,
                accepted_at_ms=accepted_at_ms,
            )
        )

    def _add_log(self, found: ConsumerRecord) -> None:
        log = decode(found.value, RequestLog, found.headers)
        self.evidence.logs[log.request_id] = LogRecord(
            partition=found.partition,
            offset=found.offset,
            accepted_at_ms=_milliseconds(log.accepted_at),
            call_ids=tuple(call.call_id for call in log.calls),
        )

    def _add_charge(self, found: ConsumerRecord) -> None:
        entry = decode(found.value, LedgerEntry, found.headers)
        if entry.kind != "settle":
            return
        amount_nano = nano_usd(entry.amount_usd)
        charges = self.evidence.charges.setdefault(entry.request_id, [])
        charge = next((each for each in charges if each.entry_id == entry.entry_id), None)
        if charge is None:
            new = LedgerCharge(entry_id=entry.entry_id, replay=entry.replay, amount_nano=amount_nano)
            charges.append(new)
        elif entry.replay > charge.replay:
            charge.replay, charge.amount_nano = entry.replay, amount_nano
        elif entry.replay == charge.replay:
            charge.times += 1
            charge.contradictory |= amount_nano != charge.amount_nano

    def _add_dead_letter(self, found: ConsumerRecord) -> None:
        letter = summary_of(Record.of(found, self.auth))
        self.evidence.dead_letters[str(letter.letter_id)] = DeadLetter(
            stage=letter.stage or "?",
            record=letter.record or "?",
            request_id=letter.request_id,
            inside=self.window.contains(found.timestamp),
            forged=letter.exception == UnauthenticRecord.__name__,
        )

    def _add_action(self, found: ConsumerRecord) -> None:
        self.evidence.actions.add(decode(found.value, DeadLetterAction, found.headers).dead_letter)

    def _add_retry(self, found: ConsumerRecord) -> None:
        record = Record.of(found, self.auth)
        retry = RetryRecord(
            request_id=request_id_of(record),
            not_before_ms=redelivery(record.headers).not_before_ms,
            partition=found.partition,
            offset=found.offset,
        )
        self.evidence.retries.append(retry)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)

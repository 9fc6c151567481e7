"""The identity of a delivered record (request id, submission, deadline), and the envelope made of it.

Kafka may deliver a record twice (after a crash or a rebalance). A copy of it may come from the retry topic,
or from the dead letters. In each case `record.address` is the address of the first record. Therefore all
deliveries of one record have the same request id and the same submission. A replayed dead letter is the
exception: it is a new submission with a new deadline. docs/redelivery.md says what each stage does then.
"""

import re
from datetime import datetime, timedelta

import msgspec

from agents.stage import Record, instant
from streams.codec import header, header_text
from streams.errors import InvalidRequest
from streams.events import (
    ChatRequested,
    EmbeddingsRequested,
    Envelope,
    Event,
    LlmCall,
    ReplyAddress,
    Requested,
)
from streams.registry.registry import correlation_origin
from streams.request_rules.chat import check_moment

#: The longest id in a header or a key. An id in the body has the pattern of `streams.events.RequestId`.
MAX_REQUEST_ID_CHARS = 256

_ID = msgspec.json.Decoder(type=dict[str, object])
DEFAULT_TENANT = "default"
DEFAULT_TIER = "standard"
#: W3C Trace Context, version 00 and its successors.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,200})?", re.ASCII)
#: The fields that requests for chat and for embeddings have in common: who asks, and how.
_SHARED = tuple(
    "user_id request_id tenant tier session_id model deadline_ms on_disconnect accepted_at".split()
)
#: The fields that are kept of a refused request: none of them is free text.
_WITHOUT_TEXT = (*_SHARED, "template", "stream", "webhook")
_calls = msgspec.json.Decoder(tuple[LlmCall, ...])
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def request_id_of(record: Record, request: Requested | None = None) -> str | None:
    """Return the id of a request: from its body, its `ce_id` header, its key, or its place in the log.

    A record whose body could not be decoded has an id only where one can still be read from it, or where its
    headers say that somebody waits for a reply.
    """
    named = (
        (request.request_id if request else _id_in_broken_body(record.value))
        or as_request_id(header_text(record.headers, "ce_id"))
        or as_request_id(key_text(record.key))
    )
    reply_headers = ("kafka_replyTopic", "kafka_correlationId")
    if named or (request is None and not any(header(record.headers, name) for name in reply_headers)):
        return named
    return record.address.replace(":", "-")


def submission_origin(record: Record, reply_to: ReplyAddress) -> str:
    """Name this submission: by its correlation id, or by its place in the log where it has none.

    All copies of one replay are the same submission.
    """
    name = (
        correlation_origin(reply_to.correlation_id) if reply_to.correlation_id else "record:" + record.address
    )
    return f"{name}:replay:{record.again.replay}" if record.again.replay else name


def accepted_at(record: Record, request: Requested) -> datetime:
    """Return when a request was accepted: as it says, but never after its record was written.

    Nobody can have accepted it later, and no deadline lies further off.
    """
    written_at = record.written_at
    return min(request.accepted_at or written_at, written_at)


def deadline_of(record: Record, request: Requested, *, default_deadline_ms: int) -> datetime:
    """Return the request's deadline. A replay has the same time, counted from when it was replayed."""
    replayed_at_ms = record.again.replayed_at_ms
    begin = accepted_at(record, request) if replayed_at_ms is None else instant(replayed_at_ms)
    return begin + timedelta(milliseconds=request.deadline_ms or default_deadline_ms)


def with_replay(event: Event, record: Record, *, default_deadline_ms: int) -> Event:
    """Return an event whose envelope has the number and the deadline of the replay that brought it.

    Other events come back as they are. So do copies of a replay that was put aside, and what followed from a
    replay: their envelope knows of it already.
    """
    envelope: Envelope | None = getattr(event, "envelope", None)
    replayed_at_ms = record.again.replayed_at_ms
    if envelope is None or replayed_at_ms is None or envelope.replay >= record.again.replay:
        return event
    # The request's own time: `deadline_at` of an envelope that was replayed before counts from that replay.
    budget = timedelta(milliseconds=envelope.request.deadline_ms or default_deadline_ms)
    again = msgspec.structs.replace(
        envelope, replay=record.again.replay, deadline_at=instant(replayed_at_ms) + budget
    )
    return msgspec.structs.replace(event, envelope=again)


def with_sane_time(record: Record, *, now: datetime) -> Record:
    """Return a record; as if written now, where its own time is refused."""
    try:
        check_moment(record.written_at, "timestamp", now=now)
    except InvalidRequest:
        again = msgspec.structs.replace(record.again, timestamp_ms=None)
        return msgspec.structs.replace(record, timestamp_ms=int(now.timestamp() * 1000), again=again)
    return record


def as_request_id(text: str | None) -> str | None:
    """Return the id that a header or a key names; None where it is too long or cannot be printed."""
    return text if text and len(text) <= MAX_REQUEST_ID_CHARS and text.isprintable() else None


def key_text(key: bytes | None) -> str | None:
    """Return a record's key as text, if it is UTF-8."""
    try:
        return (key or b"").decode() or None
    except UnicodeDecodeError:
        return None


def _id_in_broken_body(value: bytes | None) -> str | None:
    try:
        found = _ID.decode(value or b"").get("request_id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return as_request_id(found) if isinstance(found, str) else None


class _Head(msgspec.Struct):
    """The part of an internal event's envelope that says whose it is; the rest of it may be anything."""

    request_id: str
    tenant: str
    user_id: str
    tier: str
    accepted_at: datetime
    deadline_at: datetime
    reply_to: ReplyAddress
    session_id: str | None = None
    replay: int = 0
    calls: msgspec.Raw = msgspec.Raw(b"[]")


class _HeadOnly(msgspec.Struct):
    envelope: _Head


_head = msgspec.json.Decoder(_HeadOnly)


def open_envelope(
    record: Record, request: Requested, *, reply_to: ReplyAddress, default_deadline_ms: int
) -> Envelope:
    """Return the envelope that the request travels in."""
    return Envelope(
        request_id=request_id_of(record, request) or record.address,
        tenant=request.tenant or DEFAULT_TENANT,
        user_id=request.user_id,
        tier=request.tier or DEFAULT_TIER,
        session_id=request.session_id,
        accepted_at=accepted_at(record, request),
        deadline_at=deadline_of(record, request, default_deadline_ms=default_deadline_ms),
        request=as_chat(request),
        reply_to=reply_to,
        traceparent=_traceparent(record),
        replay=record.again.replay,
    )


def as_chat(request: Requested) -> ChatRequested:
    """Return a request in the form that envelopes have. Of embeddings: who asks, and how."""
    if isinstance(request, EmbeddingsRequested):
        return ChatRequested(**{name: getattr(request, name) for name in _SHARED})
    return request


def without_texts(envelope: Envelope) -> Envelope:
    """Drop the texts of a request whose personal data was not redacted: they must not reach the logs."""
    return msgspec.structs.replace(envelope, request=request_without_texts(envelope.request))


def request_without_texts(request: ChatRequested) -> ChatRequested:
    """Return who asks and how, without what is asked. Its size is bounded, whatever was sent."""
    return ChatRequested(**{name: getattr(request, name) for name in _WITHOUT_TEXT})


def recovered_envelope(value: bytes | None) -> Envelope | None:
    """Return what an internal event that does not decode still says: whose it is, and what was spent on it.

    None where it does not even say that.
    """
    try:
        head = _head.decode(value or b"").envelope
    except _BROKEN:
        return None
    try:
        calls = _calls.decode(head.calls)
    except _BROKEN:
        calls = ()
    known = msgspec.structs.asdict(head) | {"calls": calls}
    return Envelope(request=ChatRequested(user_id=head.user_id), **known)


def _traceparent(record: Record) -> str | None:
    found = header_text(record.headers, "traceparent")
    return found if found and _TRACEPARENT.fullmatch(found) else None

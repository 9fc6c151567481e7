"""From a record that brings a request to an envelope: who asks, where the reply goes, how long there is."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

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
    Reply,
    ReplyAddress,
    Requested,
)
from streams.kafka.record_sizes import MAX_HEADER_BYTES, MAX_HEADERS
from streams.pipeline import TOPICS
from streams.publisher import Emit
from streams.registry.registry import correlation_origin
from streams.request_rules.chat import check_depth, check_ids, check_moment
from streams.request_rules.sent_requests import check_fields
from streams.topics import REPLIES

DEFAULT_TENANT = "default"
DEFAULT_TIER = "standard"

#: Of an id in a header or a key; one in the body has the pattern of `streams.events.RequestId`.
MAX_REQUEST_ID_CHARS = 256
#: Spring's has 16 bytes; a UUID as text 36.
MAX_CORRELATION_ID_BYTES = 1024

#: The headers of a request that are read as text.
_TEXT_HEADERS = ("ce_id", "kafka_replyTopic", "traceparent")
#: Kafka's rule for names.
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
#: W3C Trace Context, version 00 and its successors.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,200})?", re.ASCII)
_ID = msgspec.json.Decoder(type=dict[str, object])

#: What is kept of a request that is refused: nothing in it is free text.
_BARE = (
    "user_id",
    "request_id",
    "tenant",
    "tier",
    "session_id",
    "template",
    "model",
    "stream",
    "deadline_ms",
    "on_disconnect",
    "webhook",
    "accepted_at",
)


class _Head(msgspec.Struct):
    """What tells whom an internal event belongs to; the rest of it may be anything."""

    request_id: str
    tenant: str
    user_id: str
    tier: str
    accepted_at: datetime
    deadline_at: datetime
    reply_to: ReplyAddress
    session_id: str | None = None
    replay: int = 0


class _Headed(msgspec.Struct):
    envelope: _Head


class _Spent(msgspec.Struct):
    calls: tuple[LlmCall, ...] = ()


class _Spending(msgspec.Struct):
    envelope: _Spent


_headed = msgspec.json.Decoder(_Headed)
_spending = msgspec.json.Decoder(_Spending)
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def request_id_of(record: Record, request: Requested | None = None) -> str | None:
    """Return the id of a request: from its body, its `ce_id` header, its key, or its place in the log.

    A record whose body could not be decoded has an id only where one can still be read from it, or where its
    headers say that somebody waits for a reply.
    """
    named = (
        (request.request_id if request else _id_in_broken_body(record.value))
        or _as_id(header_text(record.headers, "ce_id"))
        or _as_id(_key_text(record.key))
    )
    if named or (request is None and not _awaits_reply(record)):
        return named
    # The same record always gets the same id, however often it is delivered.
    return record.address.replace(":", "-")


def check_entrance(record: Record, request: Requested, *, now: datetime) -> None:
    """Check what a sender wrote around a request, before anything of it is kept.

    Raises:
        InvalidRequest: headers, ids, times or nesting that nobody needs, headers that are no UTF-8, or fields
            that are not known; `param` names the header or field.
    """
    check_moment(record.written_at, "timestamp", now=now)
    if request.accepted_at is not None:
        check_moment(request.accepted_at, "accepted_at", now=now)
    for name in _TEXT_HEADERS:
        if header(record.headers, name) is not None and header_text(record.headers, name) is None:
            raise InvalidRequest(f"{name} must be UTF-8", code="invalid_header", param=name)
    size = sum(len(name) + len(value) for name, value in record.headers)
    if len(record.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise InvalidRequest(
            f"the record has {len(record.headers)} headers of {size} bytes together; at most {MAX_HEADERS} "
            f"of {MAX_HEADER_BYTES} are allowed",
            code="headers_too_large",
            param="headers",
        )
    correlation_id = header(record.headers, "kafka_correlationId") or b""
    if len(correlation_id) > MAX_CORRELATION_ID_BYTES:
        raise InvalidRequest(
            f"kafka_correlationId has {len(correlation_id)} bytes; at most {MAX_CORRELATION_ID_BYTES} are "
            "allowed. The reply goes without one",
            code="correlation_id_too_long",
            param="kafka_correlationId",
        )
    if request.request_id is None:
        _check_id(header_text(record.headers, "ce_id"), "ce_id")
        _check_id(_key_text(record.key), "key")
    check_depth(request)
    check_ids(request)
    check_fields(record.value or b"", request)


def with_sane_time(record: Record, *, now: datetime) -> Record:
    """Return a record; written now, where its time is one that is refused."""
    try:
        check_moment(record.written_at, "timestamp", now=now)
    except InvalidRequest:
        again = msgspec.structs.replace(record.again, timestamp_ms=None)
        return msgspec.structs.replace(record, timestamp_ms=int(now.timestamp() * 1000), again=again)
    return record


def _check_id(text: str | None, where: str) -> None:
    if text and _as_id(text) is None:
        raise InvalidRequest(
            f"the {where} names the request, and must have at most {MAX_REQUEST_ID_CHARS} characters that "
            "can be printed; or give a request_id in the body",
            code="invalid_request_id",
            param=where,
        )


def reply_address(record: Record, allowed_topics: Sequence[str]) -> ReplyAddress:
    """Return where the reply goes, from the headers that Spring's `ReplyingKafkaTemplate` writes.

    Args:
        record: the request's record.
        allowed_topics: names or shell patterns of topics that may be named. Headrace's own topics may
            not, but for `llm.replies.v1`, which always may. Nor may those that begin with `_`, such as
            Kafka's `__consumer_offsets` and a schema registry's `_schemas`, whatever the patterns say.

    Raises:
        InvalidRequest: the headers name a topic that is not on the allow-list.
    """
    topic = header_text(record.headers, "kafka_replyTopic") or REPLIES.name
    if topic != REPLIES.name and not _is_allowed(topic, allowed_topics):
        mend = "add it to HEADRACE_REPLY_TOPICS" if may_be_named(topic) else "it is an internal topic"
        raise InvalidRequest(
            f"replies to topic {topic[:249]!r} are not allowed: {mend}",
            code="reply_topic_not_allowed",
            param="kafka_replyTopic",
        )
    partition = header(record.headers, "kafka_replyPartition")
    return ReplyAddress(
        topic=topic,
        partition=int.from_bytes(partition, "big") if partition and len(partition) == 4 else None,
        correlation_id=correlation_id_of(record),
    )


def fallback_address(record: Record) -> ReplyAddress:
    """Return the address on our own reply topic, for a sender whose own choice was refused."""
    return ReplyAddress(topic=REPLIES.name, correlation_id=correlation_id_of(record))


def may_be_named(topic: str) -> bool:
    """Whether a sender may name a topic for replies at all: not one of ours, nor an internal one."""
    return topic not in TOPICS and _TOPIC_NAME.fullmatch(topic) is not None and topic[0] not in "_."


def to_own_topic(reply: Emit) -> Emit:
    """Return a reply readdressed to our own reply topic: its sender's has gone."""
    return msgspec.structs.replace(reply, topic=REPLIES.name, partition=None)


def _is_allowed(topic: str, allowed_topics: Sequence[str]) -> bool:
    return may_be_named(topic) and any(fnmatchcase(topic, pattern) for pattern in allowed_topics)


def reply_emit(reply: Reply, address: ReplyAddress) -> Emit:
    """Return the record that carries a reply to where its sender waits for it."""
    headers = [("kafka_correlationId", address.correlation_id)] if address.correlation_id else []
    return Emit(
        topic=address.topic,
        key=reply.request_id,
        value=reply,
        headers=tuple(headers),
        partition=address.partition,
    )


def submission_origin(record: Record, reply_to: ReplyAddress) -> str:
    """Name this submission: its correlation id, or its place in the log where it has none.

    A replay is a submission of its own; each copy of it is the same one.
    """
    name = (
        correlation_origin(reply_to.correlation_id) if reply_to.correlation_id else "record:" + record.address
    )
    return f"{name}:replay:{record.again.replay}" if record.again.replay else name


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
    """Return a request in the form that envelopes have: of embeddings, who asks and how."""
    if isinstance(request, EmbeddingsRequested):
        return ChatRequested(
            user_id=request.user_id,
            request_id=request.request_id,
            tenant=request.tenant,
            tier=request.tier,
            session_id=request.session_id,
            model=request.model,
            deadline_ms=request.deadline_ms,
            on_disconnect=request.on_disconnect,
            accepted_at=request.accepted_at,
        )
    return request


def deadline_of(record: Record, request: Requested, *, default_deadline_ms: int) -> datetime:
    """Return the request's deadline. A replay has the same time, counted from when it was replayed."""
    replayed_at_ms = record.again.replayed_at_ms
    begin = accepted_at(record, request) if replayed_at_ms is None else instant(replayed_at_ms)
    return begin + timedelta(milliseconds=request.deadline_ms or default_deadline_ms)


def renewed(event: Event, record: Record, *, default_deadline_ms: int) -> Event:
    """Return an event whose envelope knows of the replay that brought it; others as they are.

    A copy of a replay that was put aside, and what followed from one, know of it already. The time there is
    is the request's own: in an envelope that was replayed before, `deadline_at` counts from that replay.
    """
    envelope: Envelope | None = getattr(event, "envelope", None)
    replayed_at_ms = record.again.replayed_at_ms
    if envelope is None or replayed_at_ms is None or envelope.replay >= record.again.replay:
        return event
    budget = timedelta(milliseconds=envelope.request.deadline_ms or default_deadline_ms)
    again = msgspec.structs.replace(
        envelope, replay=record.again.replay, deadline_at=instant(replayed_at_ms) + budget
    )
    return msgspec.structs.replace(event, envelope=again)


def accepted_at(record: Record, request: Requested) -> datetime:
    """Return when a request was accepted: as it says, but never after its record was written.

    Nobody can have accepted it later, and no deadline lies further off.
    """
    written_at = record.written_at
    return min(request.accepted_at or written_at, written_at)


def without_texts(envelope: Envelope) -> Envelope:
    """Drop what was asked, where personal data in it was not redacted: it must not reach the logs."""
    return msgspec.structs.replace(envelope, request=bare(envelope.request))


def bare(request: ChatRequested) -> ChatRequested:
    """Return who asks and how, without what is asked: of a bounded size, whatever was sent.

    What is kept is named: a field that comes to requests later is not.
    """
    return ChatRequested(**{name: getattr(request, name) for name in _BARE})


def salvaged_envelope(value: bytes | None) -> Envelope | None:
    """Return what an internal event that does not decode still says: whose it is, and what was spent on it.

    None where it does not even say that.
    """
    try:
        head = _headed.decode(value or b"").envelope
    except _BROKEN:
        return None
    try:
        calls = _spending.decode(value or b"").envelope.calls
    except _BROKEN:
        calls = ()
    known = {name: getattr(head, name) for name in _Head.__struct_fields__}
    return Envelope(request=ChatRequested(user_id=head.user_id), calls=calls, **known)


def correlation_id_of(record: Record) -> bytes | None:
    """Return the sender's correlation id; none where `check_entrance` refuses it for its length."""
    found = header(record.headers, "kafka_correlationId")
    return found if found is not None and len(found) <= MAX_CORRELATION_ID_BYTES else None


def _traceparent(record: Record) -> str | None:
    found = header_text(record.headers, "traceparent")
    return found if found and _TRACEPARENT.fullmatch(found) else None


def _awaits_reply(record: Record) -> bool:
    return any(header(record.headers, name) for name in ("kafka_replyTopic", "kafka_correlationId"))


def _as_id(text: str | None) -> str | None:
    """Return the id that a header or a key names; None where it is none that could be told to anybody."""
    return text if text and len(text) <= MAX_REQUEST_ID_CHARS and text.isprintable() else None


def _id_in_broken_body(value: bytes | None) -> str | None:
    try:
        found = _ID.decode(value or b"").get("request_id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _as_id(found) if isinstance(found, str) else None


def _key_text(key: bytes | None) -> str | None:
    try:
        return (key or b"").decode() or None
    except UnicodeDecodeError:
        return None

"""From a record that brings a request to an envelope: who asks, where the reply goes, how long there is."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import msgspec

from agents.stage import Record, instant
from streams.codec import header, header_text
from streams.errors import InvalidRequest
from streams.events import ChatRequested, EmbeddingsRequested, Envelope, Event, Reply, ReplyAddress, Requested
from streams.publisher import Emit
from streams.registry import correlation_origin
from streams.topics import ALL_TOPICS, REPLIES

DEFAULT_TENANT = "default"
DEFAULT_TIER = "standard"

_OUR_TOPICS = frozenset(topic.name for topic in ALL_TOPICS)
_ID = msgspec.json.Decoder(type=dict[str, object])


def request_id_of(record: Record, request: Requested | None = None) -> str | None:
    """Return the id of a request: from its body, its `ce_id` header, its key, or its place in the log.

    A record whose body could not be decoded has an id only where one can still be read from it.
    """
    named = (
        (request.request_id if request else _id_in_broken_body(record.value))
        or header_text(record.headers, "ce_id")
        or _key_text(record.key)
    )
    if named or request is None:
        return named
    # The same record always gets the same id, however often it is delivered.
    return record.address.replace(":", "-")


def reply_address(record: Record, allowed_topics: Sequence[str]) -> ReplyAddress:
    """Return where the reply goes, from the headers that Spring's `ReplyingKafkaTemplate` writes.

    Args:
        record: the request's record.
        allowed_topics: names or shell patterns of topics that may be named. Headrace's own topics may
            not, but for `llm.replies.v1`, which always may.

    Raises:
        InvalidRequest: the headers name a topic that is not on the allow-list.
    """
    topic = header_text(record.headers, "kafka_replyTopic") or REPLIES.name
    if topic != REPLIES.name and not _is_allowed(topic, allowed_topics):
        raise InvalidRequest(
            f"replies to topic {topic!r} are not allowed; add it to HEADRACE_REPLY_TOPICS",
            code="reply_topic_not_allowed",
            param="kafka_replyTopic",
        )
    partition = header(record.headers, "kafka_replyPartition")
    return ReplyAddress(
        topic=topic,
        partition=int.from_bytes(partition, "big") if partition and len(partition) == 4 else None,
        correlation_id=header(record.headers, "kafka_correlationId"),
    )


def fallback_address(record: Record) -> ReplyAddress:
    """Return the address on our own reply topic, for a sender whose own choice was refused."""
    return ReplyAddress(topic=REPLIES.name, correlation_id=header(record.headers, "kafka_correlationId"))


def to_own_topic(reply: Emit) -> Emit:
    """Return a reply readdressed to our own reply topic: its sender's has gone."""
    return msgspec.structs.replace(reply, topic=REPLIES.name, partition=None)


def _is_allowed(topic: str, allowed_topics: Sequence[str]) -> bool:
    return topic not in _OUR_TOPICS and any(fnmatchcase(topic, pattern) for pattern in allowed_topics)


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
        traceparent=header_text(record.headers, "traceparent"),
        replay=record.again.replay,
    )


def as_chat(request: Requested) -> ChatRequested:
    """Return a request in the form that envelopes have: of embeddings, all but their texts and dimensions."""
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
            metadata=request.metadata,
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
    request = msgspec.structs.replace(envelope.request, query=None, messages=None, variables=None)
    return msgspec.structs.replace(envelope, request=request)


def _id_in_broken_body(value: bytes | None) -> str | None:
    try:
        found = _ID.decode(value or b"").get("request_id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, str) and 0 < len(found) <= 128 else None


def _key_text(key: bytes | None) -> str | None:
    try:
        return (key or b"").decode() or None
    except UnicodeDecodeError:
        return None

"""Makes envelopes: opens one for a new request, removes its texts, or recovers one from a broken record."""

import re
from datetime import datetime

import msgspec

from agents.intake.delivery_identity import accepted_at, deadline_of, request_id_of
from agents.stage import Record
from streams.codec import header_text
from streams.events import ChatRequested, EmbeddingsRequested, Envelope, LlmCall, ReplyAddress, Requested

DEFAULT_TENANT = "default"
DEFAULT_TIER = "standard"

#: W3C Trace Context, version 00 and its successors.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,200})?", re.ASCII)

#: The fields that requests for chat and for embeddings have in common: who asks, and how.
_SHARED = (
    "user_id",
    "request_id",
    "tenant",
    "tier",
    "session_id",
    "model",
    "deadline_ms",
    "on_disconnect",
    "accepted_at",
)
#: The fields that are kept of a refused request: none of them is free text.
_WITHOUT_TEXT = (*_SHARED, "template", "stream", "webhook")


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
_calls = msgspec.json.Decoder(tuple[LlmCall, ...])
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


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

"""What the registry keeps of a request and returns: its state, its reply, why it was cancelled.

The vectors of embedding replies are kept apart, and for a shorter time. A chat reply has a few kB and is kept
for a day. Vectors have up to some MB: ten large replies a second would fill Redis with a terabyte a day. So
the registry keeps the reply without its vectors, which is enough to recognise a repeat. The vectors are kept
for as long as clients usually retry after a timeout.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from streams.events import ErrorInfo, Reply, ReplyAddress, Status
from streams.redis.keys import VECTORS, digest

STATE_FIELDS: Final = ("tenant", "state", "registered_at", "reply", "cancelled", "reply_to")


class SubmissionState(StrEnum):
    """The result of a registration."""

    NEW = "new"  # first submission: do the work
    SAME = "same"  # the same submission, delivered again: go on with it
    DONE = "done"  # the same submission, whose replies are sent: nothing left to do
    PENDING = "pending"  # accepted before, and its record is not read yet: publish it (again)
    JOINED = "joined"  # it runs: its reply will also be sent to this sender
    SETTLED = "settled"  # it has its reply: return that
    CONFLICT = "conflict"  # another body under the same id: refuse
    IMPOSTER = "imposter"  # another body under the origin of the first submission: a copied header
    CROWDED = "crowded"  # it runs, and too many wait for its reply already: refuse


class Registration(msgspec.Struct, frozen=True):
    """The answer to `RequestRegistry.register`.

    A settled request has a `reply`; one that shall be cancelled has the reason in `cancelled`.
    """

    state: SubmissionState
    reply: Reply | None = None
    cancelled: str | None = None


class CancelAnswer(StrEnum):
    """The result of cancelling a request."""

    CANCELLING = "cancelling"  # the stages will end it as soon as they see it
    SETTLED = "settled"  # too late: it has its reply
    SHARED = "shared"  # others have sent the same request and wait for it: it goes on
    UNKNOWN = "unknown"  # there is no such request, or it is another tenant's


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a request. `cancelled` is the reason of a cancellation.

    `reply_to` is the address of deltas and reply; None if only the reply is known.
    """

    tenant: str
    state: str
    registered_at: datetime
    reply: Reply | None = None
    cancelled: str | None = None
    reply_to: ReplyAddress | None = None


class RequestSummary(msgspec.Struct, frozen=True):
    """The state of a request without its reply.

    `status` is None before it has a reply; `has_text`: whether the reply has text; `anew`: whether the
    request may be worked on again (`streams.registry.runs.may_run_anew`).
    """

    status: Status | None = None
    has_text: bool = False
    anew: bool = False


class Settlement(msgspec.Struct, frozen=True):
    """The reply that was stored first, and the addresses that wait for it."""

    done: bool
    reply: Reply
    waiters: tuple[ReplyAddress, ...]


def decode_state(fields: Sequence[Any]) -> RequestState | None:
    """Return the state in the fields `STATE_FIELDS` of an entry; None where there is no entry.

    `fields` are bytes, or None for a missing field; redis-py's types also allow text.
    """
    tenant, state, at, reply, cancelled, reply_to = fields
    if state is None:
        return None
    return RequestState(
        tenant=(tenant or b"").decode(),
        state=state.decode(),
        registered_at=datetime.fromisoformat(at.decode()) if at else datetime.now(UTC),
        reply=decode_reply(reply),
        cancelled=cancelled.decode() if cancelled else None,
        reply_to=msgspec.json.decode(reply_to, type=ReplyAddress) if reply_to else None,
    )


#: What each answer of `scripts.SUMMARY` means.
SUMMARIES: dict[bytes, RequestSummary | None] = {
    b"unknown": None,
    b"open": RequestSummary(),
    **{
        f"{status.value}{'+' * has_text}{'!' * anew}".encode(): RequestSummary(
            status, has_text=has_text, anew=anew
        )
        for status in Status
        for has_text in (False, True)
        for anew in (False, True)
    },
}


def decode_reply(data: bytes | None) -> Reply | None:
    """Return a stored reply; None for none."""
    return msgspec.json.decode(data, type=Reply) if data else None


#: `DELETE /v1/requests/{id}`.
BY_SENDER = "cancelled_by_sender"
#: The client that waited for the answer has left, and `on_disconnect` is ``cancel``.
CLIENT_DISCONNECTED = "client_disconnected"

_WHY = {
    BY_SENDER: "its sender cancelled it",
    CLIENT_DISCONNECTED: "the client that waited for it left, and on_disconnect is cancel",
}


def cancelled_error(reason: str | None = None) -> ErrorInfo:
    """Return the error of a request that ended because it was cancelled, for `reason`."""
    why = _WHY.get(reason or "", "it was cancelled")
    return ErrorInfo(
        type="invalid_request_error",
        code="request_cancelled",
        message=f"the request has no answer: {why}; to ask again, send it under a new id",
    )


def vectors_key(request_id: str) -> str:
    """Return the key of a request's vectors."""
    return VECTORS.key(digest(request_id))


def taken_out(reply: Reply) -> tuple[Reply, bytes]:
    """Return a reply without its vectors, and the vectors (empty where it has none).

    The registry stores both in one step, so that the vectors are those of the reply that counts.
    """
    embeddings = reply.embeddings
    if embeddings is None:
        return reply, b""
    bare = msgspec.structs.replace(embeddings, vectors=b"")
    return msgspec.structs.replace(reply, embeddings=bare), embeddings.vectors


async def restored(redis: Redis, reply: Reply | None, *, beside: Reply | None = None) -> Reply | None:
    """Return a reply with its vectors; without them, where they are no longer kept.

    `beside` is another reply to the same request whose vectors are at hand.
    """
    if reply is None or reply.embeddings is None or reply.embeddings.vectors:
        return reply
    wanted = reply.embeddings
    size = wanted.count * wanted.dimensions * 4
    at_hand = beside.embeddings.vectors if beside is not None and beside.embeddings is not None else b""
    found = at_hand if len(at_hand) == size else await redis.get(vectors_key(reply.request_id))
    if not isinstance(found, bytes) or len(found) != size:
        return reply
    return msgspec.structs.replace(reply, embeddings=msgspec.structs.replace(wanted, vectors=found))


_encoder = msgspec.json.Encoder(decimal_format="number")


def reply_view(reply: Reply) -> dict[str, Any]:
    """Return the whole reply, every field of it."""
    view = {name: getattr(reply, name) for name in reply.__struct_fields__}
    return view | {"cost_usd": plain(reply.cost_usd)}


def reply_json(reply: Reply) -> bytes:
    """Return the whole reply as JSON; money is a number with exactly its digits."""
    return _encoder.encode(reply_view(reply))


def plain(amount: Decimal) -> Decimal:
    """Return the same amount without an exponent or trailing zeros."""
    text = f"{amount:f}"
    return Decimal(text.rstrip("0").rstrip(".") or "0") if "." in text else Decimal(text)

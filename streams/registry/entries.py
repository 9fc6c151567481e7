"""The values that the registry returns, and how they are read from Redis."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from streams.events import Reply, ReplyAddress, Status

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
    """The state of a request and its tenant.

    `cancelled` is the reason of a cancellation. `reply_to` is the address of deltas and reply; None if only
    the reply is known.
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

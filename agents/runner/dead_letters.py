"""What becomes of a record that cannot be worked on: its bytes are kept, and its sender is told."""

from collections.abc import Sequence

import msgspec

from agents.intake import admission
from agents.intake.outcomes import decided, senders_mistake
from agents.intake.webhook_notice import notices
from agents.stage import Record
from streams.dead_letters import dead_letter
from streams.errors import InputError, TransientFault, UnauthenticRecord
from streams.events import (
    ChatRequested,
    EmbeddingsRequested,
    Envelope,
    ErrorInfo,
    Event,
    OutcomeReached,
    Reply,
    ReplyAddress,
    Requested,
    Status,
)
from streams.pipeline import ENTRANCES
from streams.publisher import Emit

_ENTRANCES = frozenset(topic.name for topic in ENTRANCES)


class DeadLetters:
    """Turns a failed record into a dead letter and, where its sender is known, a terminal error.

    Args:
        reply_topics: names or patterns of topics that senders may name for their replies.
        default_deadline_ms: as in the settings, for requests that never got an envelope.
    """

    def __init__(self, *, reply_topics: Sequence[str], default_deadline_ms: int) -> None:
        self._reply_topics = reply_topics
        self._default_deadline_ms = default_deadline_ms

    def bury(
        self, record: Record, event: Event | None, *, stage: str, fault: BaseException
    ) -> Sequence[Emit]:
        """Return the dead letter, and what tells the sender."""
        return (dead_letter(record, stage=stage, fault=fault), *self.tell(record, event, fault))

    def give_up(
        self, record: Record, event: Event | None, *, stage: str, fault: TransientFault
    ) -> Sequence[Emit]:
        """Return what tells the sender that the deadline came first. Nothing is wrong with the record.

        A replay that was never registered is a dead letter again: what an operator sent must not vanish.
        """
        if _is_unregistered_replay(record, event, fault):
            return self.bury(record, event, stage=stage, fault=fault)
        return self.tell(record, event, fault)

    def tell(self, record: Record, event: Event | None, fault: BaseException) -> Sequence[Emit]:
        """Return what tells the sender of a failure: nothing where no request id can be read.

        A request that was never understood was never accepted: it gets a reply, but neither a
        registration nor a log record, which might belong to a good request with the same id. Nor has anybody
        looked whether a replay that could not be registered belongs to the request that it names: its outcome
        would replace that request's. And what failed in *cost* may not come to *cost* again: its sender gets
        the reply straight away. Of a record that Headrace did not write nobody is told: whoever it names has
        nothing to do with it.
        """
        if isinstance(fault, UnauthenticRecord):
            return ()
        error = error_info(fault)
        if isinstance(event, OutcomeReached):
            reply = Reply(
                request_id=event.envelope.request_id,
                status=Status.FAILED,
                error=error,
                replay=event.envelope.replay,
            )
            return (
                admission.reply_emit(reply, event.envelope.reply_to),
                *notices(reply, event.envelope),
            )
        request_id = admission.request_id_of(record, _requested(event))
        if request_id is None:
            return ()
        unknown = event is None or _is_unregistered_replay(record, event, fault)
        if unknown and record.topic in _ENTRANCES:
            reply = Reply(
                request_id=request_id, status=Status.FAILED, error=error, replay=record.again.replay
            )
            return (admission.reply_emit(reply, self._reply_address(record)),)
        envelope = getattr(event, "envelope", None)
        if envelope is None and record.topic not in _ENTRANCES:
            envelope = admission.salvaged_envelope(record.value)
        envelope = envelope or self._stand_in(record, event, request_id)
        return decided(envelope, Status.FAILED, error=error)

    def _stand_in(self, record: Record, event: Event | None, request_id: str) -> Envelope:
        request = _requested(event) or ChatRequested(user_id="unknown")
        envelope = admission.open_envelope(
            record,
            request,
            reply_to=self._reply_address(record),
            default_deadline_ms=self._default_deadline_ms,
        )
        return admission.without_texts(msgspec.structs.replace(envelope, request_id=request_id))

    def _reply_address(self, record: Record) -> ReplyAddress:
        try:
            return admission.reply_address(record, self._reply_topics)
        except InputError:
            return admission.fallback_address(record)


def error_info(fault: BaseException) -> ErrorInfo:
    """Return what the sender is told: its own mistakes in full, our bugs without the internals."""
    if isinstance(fault, InputError):
        return senders_mistake(fault)
    if isinstance(fault, TransientFault):
        return ErrorInfo(
            type="unavailable_error",
            code="dependency_unavailable",
            message=f"a dependency did not answer in time ({type(fault).__name__}); try again",
        )
    return ErrorInfo(
        type="api_error",
        code="internal_error",
        message="Headrace failed to process this request; it is kept as a dead letter",
    )


def _requested(event: Event | None) -> Requested | None:
    return event if isinstance(event, ChatRequested | EmbeddingsRequested) else None


def _is_unregistered_replay(record: Record, event: Event | None, fault: BaseException) -> bool:
    """Whether a replayed request failed because the registry did not answer, or may have.

    What follows from a request that was registered is read from another topic, or has an envelope by now.
    """
    return (
        record.topic in _ENTRANCES
        and not hasattr(event, "envelope")
        and record.again.replay > 0
        and isinstance(fault, TransientFault)
    )

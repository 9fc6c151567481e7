"""What becomes of a record that cannot be worked on: its bytes are kept, and its sender is told."""

from collections.abc import Sequence

import msgspec

from agents.intake.envelopes import open_envelope, recovered_envelope, request_id_of, without_texts
from agents.intake.replies import (
    allowed_reply_address,
    input_error_info,
    outcome_emits,
    reply_emit,
    webhook_emits,
)
from agents.stage import Record
from streams.errors import InputError, TransientFault, UnauthenticRecord
from streams.events import (
    ChatRequested,
    EmbeddingsRequested,
    Envelope,
    ErrorInfo,
    Event,
    OutcomeReached,
    Reply,
    Requested,
    Status,
)
from streams.pipeline import ENTRANCES
from streams.publisher import Emit
from streams.redelivery import dead_letter

_ENTRANCES = frozenset(topic.name for topic in ENTRANCES)


class DeadLetters:
    """Turns a failed record into a dead letter and, where its sender is known, a terminal error."""

    def __init__(self, *, reply_topics: Sequence[str], default_deadline_ms: int) -> None:
        self._reply_topics = reply_topics
        self._default_deadline_ms = default_deadline_ms

    def make(
        self, record: Record, event: Event | None, *, stage: str, fault: BaseException
    ) -> Sequence[Emit]:
        """Return the dead letter, and what tells the sender."""
        return (dead_letter(record, stage=stage, fault=fault), *self.tell_sender(record, event, fault))

    def give_up(
        self, record: Record, event: Event | None, *, stage: str, fault: TransientFault
    ) -> Sequence[Emit]:
        """Return what tells the sender that the deadline came first. Nothing is wrong with the record.

        A replay that was never registered is a dead letter again: what an operator sent must not vanish.
        """
        if _is_unregistered_replay(record, event, fault):
            return self.make(record, event, stage=stage, fault=fault)
        return self.tell_sender(record, event, fault)

    def tell_sender(self, record: Record, event: Event | None, fault: BaseException) -> Sequence[Emit]:
        """Return what tells the sender of a failure: nothing where no request id can be read.

        - A record that Headrace did not write: nobody is told. The request that it names has no part in it.
        - A record that failed in *cost*: its sender gets the reply at once: it must not go there again.
        - A request that was never decoded, or a replay that was never registered: its sender gets a reply,
          but there is no outcome. An outcome might belong to a good request with the same id, and replace it.
        - Anything else goes to *cost* as a failed outcome.
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
                reply_emit(reply, event.envelope.reply_to),
                *webhook_emits(reply, event.envelope),
            )
        request_id = request_id_of(record, _requested(event))
        if request_id is None:
            return ()
        unknown = event is None or _is_unregistered_replay(record, event, fault)
        if unknown and record.topic in _ENTRANCES:
            reply = Reply(
                request_id=request_id, status=Status.FAILED, error=error, replay=record.again.replay
            )
            return (reply_emit(reply, allowed_reply_address(record, self._reply_topics)),)
        envelope = getattr(event, "envelope", None)
        if envelope is None and record.topic not in _ENTRANCES:
            envelope = recovered_envelope(record.value)
        envelope = envelope or self._stand_in(record, event, request_id)
        return outcome_emits(envelope, Status.FAILED, error=error)

    def _stand_in(self, record: Record, event: Event | None, request_id: str) -> Envelope:
        request = _requested(event) or ChatRequested(user_id="unknown")
        envelope = open_envelope(
            record,
            request,
            reply_to=allowed_reply_address(record, self._reply_topics),
            default_deadline_ms=self._default_deadline_ms,
        )
        return without_texts(msgspec.structs.replace(envelope, request_id=request_id))


def error_info(fault: BaseException) -> ErrorInfo:
    """Return what the sender is told: its own mistakes in full, our bugs without the internals."""
    if isinstance(fault, InputError):
        return input_error_info(fault)
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

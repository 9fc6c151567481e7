"""The outcome of a chat request as the journal stores it, and as it is sent."""

from streams import pipeline
from streams.codec import decode, encode
from streams.events import Completed, Event, OutcomeReached
from streams.publisher import Emit
from streams.topics import OUTCOMES


class StoredResult(Event, frozen=True, kw_only=True):
    """One of the two events that the stage sends."""

    completed: Completed | None = None
    outcome: OutcomeReached | None = None


ChatOutcome = Completed | OutcomeReached


def pack(outcome: ChatOutcome) -> bytes:
    """Return the bytes that the journal stores."""
    if isinstance(outcome, Completed):
        return encode(StoredResult(completed=outcome))
    return encode(StoredResult(outcome=outcome))


def unpack(data: bytes) -> ChatOutcome:
    """Return the event in stored bytes.

    Raises:
        UndecodableRecord: the bytes are not a stored result.
    """
    stored = decode(data, StoredResult)
    outcome = stored.completed or stored.outcome
    if outcome is None:
        raise AssertionError("the journal stored an empty result")
    return outcome


def emit(outcome: ChatOutcome) -> Emit:
    """Return the record that carries the event."""
    topic = pipeline.LLM.next if isinstance(outcome, Completed) else OUTCOMES
    return Emit.to(topic, outcome, key=outcome.envelope.request_id)

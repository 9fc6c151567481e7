"""The stage's outcome as the journal stores it."""

from typing import TypeVar

import msgspec

from streams import pipeline
from streams.codec import decode, encode
from streams.events import Completed, Event, OutcomeReached
from streams.publisher import Emit
from streams.topics import OUTCOMES


class StoredResult(Event, frozen=True, kw_only=True):
    """One of the two events that the stage sends."""

    completed: Completed | None = None
    outcome: OutcomeReached | None = None


Outcome = Completed | OutcomeReached
R = TypeVar("R", Completed, OutcomeReached, Outcome)


def pack(outcome: Outcome) -> bytes:
    """Return the bytes that the journal stores."""
    if isinstance(outcome, Completed):
        return encode(StoredResult(completed=outcome))
    return encode(StoredResult(outcome=outcome))


def unpack(data: bytes) -> Outcome:
    """Return the event in stored bytes.

    Raises:
        UndecodableRecord: the bytes are not a stored result.
    """
    stored = decode(data, StoredResult)
    outcome = stored.completed or stored.outcome
    if outcome is None:
        raise AssertionError("the journal stored an empty result")
    return outcome


def of_this_run(outcome: R, replay: int) -> R:
    """Return a result that a former run has stored as this run's: it is settled under its number."""
    return msgspec.structs.replace(outcome, envelope=msgspec.structs.replace(outcome.envelope, replay=replay))


def emit(outcome: Outcome) -> Emit:
    """Return the record that carries the event."""
    topic = pipeline.LLM.next if isinstance(outcome, Completed) else OUTCOMES
    return Emit.to(topic, outcome, key=outcome.envelope.request_id)

"""Prepares the records that a stage returns: adds the stage's timing and the CloudEvents headers."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from agents.stage import Record
from streams import codec
from streams.events import Event, OutcomeReached, Timing
from streams.publisher import Emit


def timing(
    stage: str, record: Record, emits: Sequence[Emit], *, started_at: datetime, ended_at: datetime
) -> Timing:
    """Return how long a record waited for the stage, and how long the stage worked on it.

    The wait counts from the time of the record itself: of a copy, from when it came back.
    """
    return Timing(
        stage=stage,
        started_at=started_at,
        queue_us=max(0, _micros(started_at - record.arrived_at)),
        work_us=_micros(ended_at - started_at),
        outcome=_outcome(emits),
    )


def stamped(emit: Emit, stage: str, entry: Timing) -> Emit:
    """Return a record with the stage's timing in its envelope and CloudEvents headers; bytes as they are."""
    if not isinstance(emit.value, Event):
        return emit
    event = emit.value
    envelope = getattr(event, "envelope", None)
    if envelope is not None:
        event = msgspec.structs.replace(
            event, envelope=msgspec.structs.replace(envelope, timings=(*envelope.timings, entry))
        )
    headers = codec.event_headers(
        event,
        event_id=_event_id(event, emit),
        source=f"headrace/{stage}",
        traceparent=envelope.traceparent if envelope is not None else None,
    )
    return msgspec.structs.replace(emit, value=event, headers=(*headers, *emit.headers))


def _event_id(event: Event, emit: Emit) -> str:
    """Return the id by which readers recognise a repeat: a ledger entry's own id, or its request's."""
    return str(getattr(event, "entry_id", None) or getattr(event, "request_id", None) or emit.key)


def _outcome(emits: Sequence[Emit]) -> str:
    for emit in emits:
        if isinstance(emit.value, OutcomeReached):
            return emit.value.status.value
    return "passed" if emits else "dropped"


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)

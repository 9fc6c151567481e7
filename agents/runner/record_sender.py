"""Sends the records that a stage returns until the broker has acknowledged them; adds timing and headers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from agents.stage import Record
from streams import codec
from streams.backoff import Backoff
from streams.errors import TopicRefused, TransientFault, Undeliverable
from streams.events import Event, OutcomeReached, Timing
from streams.pipeline import TOPICS
from streams.publisher import Emit, Position

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]
#: How long a send to a topic that a sender named is tried.
FOREIGN_TIMEOUT_S = 60.0
_BACKOFF = Backoff()


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


class RecordPublisher(Protocol):
    """Sends one record, and returns once the broker has acknowledged it."""

    async def publish(self, emit: Emit) -> Position:
        """Send one record."""
        ...


class UnsentRecord(msgspec.Struct, frozen=True):
    """A record that its topic does not take, however often it is sent."""

    emit: Emit
    fault: Undeliverable


@dataclass(eq=False)
class RecordSender:
    """Sends records for one stage until the broker has acknowledged them, past any deadline.

    Topics that senders named are tried for `FOREIGN_TIMEOUT_S`: a fault of theirs, e.g. too few replicas in
    sync, may never be mended.
    """

    publisher: RecordPublisher
    stage: str
    sleep: Sleep = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic

    async def send_all(self, emits: Sequence[Emit]) -> list[UnsentRecord]:
        """Send until each is acknowledged. Return those that no retry can help."""
        waiting, lost, tries, began_s = list(emits), list[UnsentRecord](), 0, self.monotonic()
        while waiting:
            pairs = list(zip(waiting, await self._publish(waiting), strict=True))
            lost += [UnsentRecord(emit, each) for emit, each in pairs if isinstance(each, Undeliverable)]
            failed = [(emit, each) for emit, each in pairs if isinstance(each, TransientFault)]
            waiting = [emit for emit, _ in failed]
            if failed:
                tries += 1
                log.warning("stage.send_failed", stage=self.stage, tries=tries, error=str(failed[0][1]))
                if self.monotonic() - began_s >= FOREIGN_TIMEOUT_S:
                    lost += [
                        UnsentRecord(emit, _unavailable(emit, each))
                        for emit, each in failed
                        if is_foreign(emit)
                    ]
                    waiting = [emit for emit in waiting if not is_foreign(emit)]
            if waiting:
                await self.sleep(_BACKOFF.wait_s(tries))
        return lost

    async def _publish(self, emits: Sequence[Emit]) -> Sequence[TransientFault | Undeliverable | None]:
        """Send each once, side by side; return what went wrong with each."""
        if len(emits) == 1:  # most records make one: it needs no task of its own
            return (await self._fault_of(emits[0]),)
        return await asyncio.gather(*map(self._fault_of, emits))

    async def _fault_of(self, emit: Emit) -> TransientFault | Undeliverable | None:
        try:
            await self.publisher.publish(emit)
        except (TransientFault, Undeliverable) as fault:
            return fault
        return None


def is_foreign(emit: Emit) -> bool:
    """Whether a record goes to a topic that a sender named, rather than to one of ours."""
    return emit.topic not in TOPICS


def _unavailable(emit: Emit, fault: TransientFault) -> Undeliverable:
    return TopicRefused(f"{emit.topic} has taken nothing for {FOREIGN_TIMEOUT_S:g} s: {fault}")

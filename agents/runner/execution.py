"""The life of one record in a stage, from its delivery to its acknowledgement. Knows nothing of Faust.

Whatever happens, a record ends in exactly one durable outcome: the broker has acknowledged what the
stage made of it, or its dead letter. Only then may its offset be committed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from agents import admission
from agents.runner.dead_letters import DeadLetters
from agents.stage import Delivery, Record, Stage
from streams import codec
from streams.dead_letters import dead_letter
from streams.errors import InputError, TransientFault, Undeliverable, UnknownTopic
from streams.events import ErrorInfo, Event, OutcomeReached, Reply, Timing
from streams.publisher import Emit, Publisher

_MAX_BACKOFF_S = 2.0
_TRIES_TO_NOTE_DELIVERY = 5

log = structlog.get_logger(__name__)


class _Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a record. `delivery` is there where the stage itself said so."""

    emits: Sequence[Emit]
    event: Event | None = None
    delivery: Delivery[Any] | None = None
    buried: bool = False


class _Lost(msgspec.Struct, frozen=True):
    emit: Emit
    fault: Undeliverable


class StageRunner:
    """Runs one stage's records to their outcome.

    Args:
        stage: what to do with an event.
        publisher: where its records go.
        dead_letters: what to do when it fails.
        default_deadline_ms: for events that carry no deadline yet.
        clock: the time, UTC-aware.
        sleep: how to wait between two tries.
    """

    def __init__(
        self,
        stage: Stage[Any],
        publisher: Publisher,
        dead_letters: DeadLetters,
        *,
        default_deadline_ms: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.stage = stage
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._default_deadline = timedelta(milliseconds=default_deadline_ms)
        self._clock = clock
        self._sleep = sleep

    async def run(self, record: Record) -> None:
        """Bring a record to its durable outcome. Returns only then."""
        started_at = self._clock()
        decision = await self._decide(record)
        timing = self._timing(record, started_at, decision.emits)
        emits = [self._stamp(emit, timing) for emit in decision.emits]
        lost = await self._send(emits)
        if lost:
            await self._make_good(record, decision, emits, lost)
        if decision.delivery is not None:
            await self._note_delivery(decision.delivery)

    async def _decide(self, record: Record) -> _Decision:
        """Return what is to be sent; never raises for a fault of the record or the stage.

        `handle` and `delivered` are given the very same delivery.
        """
        event_class = self.stage.source.event
        assert event_class is not None  # noqa: S101  # stages read topics that carry events
        try:
            event = codec.decode(record.value, event_class, record.headers)
        except InputError as fault:
            log.warning("record.undecodable", stage=self.stage.name, at=record.address, error=fault.message)
            return self._bury(record, None, fault)
        delivery: Delivery[Any] = Delivery(event=event, record=record)
        try:
            return await self._handle_in_time(delivery)
        except InputError as fault:
            log.warning("record.refused", stage=self.stage.name, at=record.address, error=fault.message)
            return self._bury(record, event, fault)
        except Exception as fault:
            # The one place that catches everything: a bug must not lose the record or stop the stage.
            log.exception("stage.failed", stage=self.stage.name, at=record.address)
            return self._bury(record, event, fault)

    async def _handle_in_time(self, delivery: Delivery[Any]) -> _Decision:
        """Handle the event, waiting out transient faults until its deadline: the last try is made at it."""
        deadline_at = self._deadline(delivery)
        tries = 0
        while True:
            try:
                emits = await self.stage.handle(delivery)
                return _Decision(emits=emits, event=delivery.event, delivery=delivery)
            except TransientFault as fault:
                tries += 1
                left_s = (deadline_at - self._clock()).total_seconds()
                if left_s <= 0:
                    log.warning("stage.gave_up", stage=self.stage.name, tries=tries, error=str(fault))
                    told = self._dead_letters.tell(delivery.record, delivery.event, _unavailable(fault))
                    return _Decision(emits=told, event=delivery.event)
                wait_s = min(self._backoff_s(tries, fault), left_s)
            await self._sleep(wait_s)

    async def _make_good(
        self, record: Record, decision: _Decision, emits: Sequence[Emit], lost: Sequence[_Lost]
    ) -> None:
        """Bring what no retry can deliver to another durable end.

        A reply whose topic is gone comes to our own reply topic. Anything else makes the record a dead
        letter; its sender is told, but for one that has its reply already.
        """
        homeless = [each for each in lost if _is_homeless(each)]
        more = [admission.to_own_topic(each.emit) for each in homeless]
        others = [each for each in lost if not _is_homeless(each)]
        if others and not decision.buried:
            gone = {id(each.emit) for each in others}
            replied = any(isinstance(emit.value, Reply) and id(emit) not in gone for emit in emits)
            more += (
                [dead_letter(record, stage=self.stage.name, fault=others[0].fault)]
                if replied
                else self._bury(record, decision.event, others[0].fault).emits
            )
        for each in (*others, *await self._send(more)):
            log.error(
                "record.undeliverable", stage=self.stage.name, topic=each.emit.topic, error=str(each.fault)
            )

    async def _send(self, emits: Sequence[Emit]) -> list[_Lost]:
        """Send until the broker has acknowledged each; what is not acknowledged must not be committed.

        Returns those that no retry can help.
        """
        waiting, lost, tries = list(emits), list[_Lost](), 0
        while waiting:
            results = await asyncio.gather(
                *(self._publisher.publish(emit) for emit in waiting), return_exceptions=True
            )
            faults = [each for each in results if isinstance(each, BaseException)]
            unexpected = [each for each in faults if not isinstance(each, (TransientFault, Undeliverable))]
            if unexpected:
                raise unexpected[0]
            lost += [
                _Lost(emit, each)
                for emit, each in zip(waiting, results, strict=True)
                if isinstance(each, Undeliverable)
            ]
            waiting = [
                emit for emit, each in zip(waiting, results, strict=True) if isinstance(each, TransientFault)
            ]
            transient = [each for each in faults if isinstance(each, TransientFault)]
            if transient:
                tries += 1
                log.warning("stage.send_failed", stage=self.stage.name, tries=tries, error=str(transient[0]))
                await self._sleep(self._backoff_s(tries, transient[0]))
        return lost

    async def _note_delivery(self, delivery: Delivery[Any]) -> None:
        for tries in range(1, _TRIES_TO_NOTE_DELIVERY + 1):
            try:
                await self.stage.delivered(delivery)
            except TransientFault as fault:
                log.warning("stage.note_failed", stage=self.stage.name, tries=tries, error=str(fault))
                await self._sleep(self._backoff_s(tries, fault))
            else:
                return

    def _bury(self, record: Record, event: Event | None, fault: BaseException) -> _Decision:
        emits = self._dead_letters.bury(record, event, stage=self.stage.name, fault=fault)
        return _Decision(emits=emits, event=event, buried=True)

    def _deadline(self, delivery: Delivery[Any]) -> datetime:
        envelope = getattr(delivery.event, "envelope", None)
        if envelope is not None:
            deadline: datetime = envelope.deadline_at
            return deadline
        return delivery.record.written_at + self._default_deadline

    def _timing(self, record: Record, started_at: datetime, emits: Sequence[Emit]) -> Timing:
        return Timing(
            stage=self.stage.name,
            started_at=started_at,
            queue_us=max(0, _micros(started_at - record.written_at)),
            work_us=_micros(self._clock() - started_at),
            outcome=_outcome(emits),
        )

    def _stamp(self, emit: Emit, timing: Timing) -> Emit:
        """Add the stage's timing to the envelope, and the CloudEvents headers to the record."""
        if not isinstance(emit.value, Event):
            return emit
        event = emit.value
        envelope = getattr(event, "envelope", None)
        if envelope is not None:
            event = msgspec.structs.replace(
                event, envelope=msgspec.structs.replace(envelope, timings=(*envelope.timings, timing))
            )
        headers = codec.event_headers(
            event,
            event_id=_event_id(event, emit),
            source=f"headrace/{self.stage.name}",
            traceparent=envelope.traceparent if envelope is not None else None,
        )
        return msgspec.structs.replace(emit, value=event, headers=(*headers, *emit.headers))

    @staticmethod
    def _backoff_s(tries: int, fault: TransientFault) -> float:
        exponential: float = min(0.05 * 2.0**tries, _MAX_BACKOFF_S)
        return min(max(exponential, fault.retry_after_s * 0.1), _MAX_BACKOFF_S) * random.uniform(0.75, 1.25)


def _is_homeless(lost: _Lost) -> bool:
    return isinstance(lost.emit.value, Reply) and isinstance(lost.fault, UnknownTopic)


def _event_id(event: Event, emit: Emit) -> str:
    """Return an id by which a repeat of the event is recognised: a booking's own, or its request's."""
    return str(getattr(event, "entry_id", None) or getattr(event, "request_id", None) or emit.key)


def _outcome(emits: Sequence[Emit]) -> str:
    for emit in emits:
        if isinstance(emit.value, OutcomeReached):
            return emit.value.status.value
    return "passed" if emits else "dropped"


def _unavailable(fault: TransientFault) -> ErrorInfo:
    return ErrorInfo(
        type="unavailable_error",
        code="dependency_unavailable",
        message=f"a dependency did not answer before the deadline ({type(fault).__name__}); try again",
    )


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)

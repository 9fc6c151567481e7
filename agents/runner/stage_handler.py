"""Decides what becomes of a record: the stage's results, a copy on the retry topic, or a dead letter."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from agents.intake.envelopes import deadline_of, request_id_of, with_replay
from agents.intake.replies import input_error_info
from agents.runner.dead_letters import DeadLetters
from agents.runner.in_flight import RecordWork
from agents.runner.record_retry import (
    GiveUp,
    MakeDeadLetter,
    PutAside,
    RecordRetryPolicy,
    RecordRetrySituation,
    WaitInPlace,
    decide_record_retry,
)
from agents.runner.record_sender import Sleep
from agents.stage import Delivery, Record, RecoversCalls, Stage, Superseded
from streams import codec
from streams.errors import InputError, TransientFault, UnauthenticRecord
from streams.events import Event, OutcomeReached
from streams.publisher import Emit
from streams.redelivery import dead_letter, put_aside
from streams.topics import RETRIES

log = structlog.get_logger(__name__)


class StageDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a record.

    Attributes:
        emits: what is to be sent.
        event: what the record holds, as far as it could be read.
        delivery: what the stage handled; None where the stage has not returned the `emits`.
        put_aside: whether they are a copy for the retry topic.
        is_dead: whether they hold a dead letter.
    """

    emits: Sequence[Emit]
    event: Event | None = None
    delivery: Delivery[Any] | None = None
    put_aside: bool = False
    is_dead: bool = False


@dataclass(eq=False)
class StageHandler:
    """Lets a stage handle records, and decides what becomes of those that it cannot handle.

    `knows` tells whether a request of an id was accepted; without it nobody can tell.
    """

    stage: Stage[Any]
    dead_letters: DeadLetters
    _: KW_ONLY
    retry: RecordRetryPolicy
    default_deadline_ms: int
    knows: Callable[[str], Awaitable[bool]] | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Sleep = asyncio.sleep

    def __post_init__(self) -> None:
        """Take what every record needs."""
        self._name, self._source = self.stage.spec.name, self.stage.spec.source

    async def decide(self, record: Record, work: RecordWork) -> StageDecision:
        """Return what becomes of a record. Neither the record nor the stage can make it fail.

        Raises:
            Superseded: another delivery of the record does the work.
        """
        event_class = self._source.event
        assert event_class is not None  # noqa: S101  # stages read topics that carry events
        if not (record.authentic or self._source.open):
            log.warning("record.unauthentic", stage=self._name, at=record.place)
            return self.dead(record, None, UnauthenticRecord("Headrace has not written this record"))
        try:
            event = codec.decode(record.value, event_class, record.headers)
        except InputError as fault:
            self._log_input_fault("record.undecodable", record, fault)
            return await self._undecodable(record, fault)
        delivery: Delivery[Any] = Delivery(event=event, record=record)
        try:
            event = with_replay(event, record, default_deadline_ms=self.default_deadline_ms)
            delivery = Delivery(event=event, record=record)
            return await self._handle_in_time(delivery, work)
        except InputError as fault:
            self._log_input_fault("record.refused", record, fault)
            return await self.dead_with_spend(delivery, fault)
        except Superseded:
            raise
        except Exception as fault:
            # The one place that catches everything: a bug must not lose the record or stop the stage.
            log.exception("stage.failed", stage=self._name, at=record.place)
            return await self.dead_with_spend(delivery, fault)

    def put_aside(
        self, delivery: Delivery[Any], fault: TransientFault, not_before: datetime
    ) -> StageDecision:
        """Return a copy of the record for the retry topic, in the record's place. See docs/redelivery.md."""
        record = delivery.record
        log.warning(
            "record.put_aside",
            stage=self._name,
            at=record.place,
            attempt=record.again.attempt + 1,
            until=not_before.isoformat(),
            error=str(fault),
        )
        headers = put_aside(
            record,
            not_before_ms=int(not_before.timestamp() * 1000),
            reason=f"{type(fault).__name__}: {fault}",
        )
        copy = Emit(topic=RETRIES.name, key=record.key, value=record.value, headers=headers)
        return StageDecision(emits=(copy,), event=delivery.event, put_aside=True)

    def dead(self, record: Record, event: Event | None, fault: BaseException) -> StageDecision:
        """Return the record's dead letter, and what tells its sender."""
        emits = self.dead_letters.make(record, event, stage=self._name, fault=fault)
        return StageDecision(emits=emits, event=event, is_dead=True)

    async def dead_with_spend(self, delivery: Delivery[Any], fault: BaseException) -> StageDecision:
        """Return the same of a delivery that the stage has worked on: what was spent on it is booked."""
        return self.dead(delivery.record, await self._with_calls(delivery, fault), fault)

    async def _handle_in_time(self, delivery: Delivery[Any], work: RecordWork) -> StageDecision:
        """Handle the event, waiting out transient faults: in place at first, then on the retry topic."""
        record, deadline_at = delivery.record, self._deadline(delivery)
        began_at, tries = self.clock(), 0
        if self.stage.spec.spends:
            work.may_take((deadline_at - began_at).total_seconds())
        while True:
            try:
                emits = await self.stage.handle(delivery)
                return StageDecision(emits=emits, event=delivery.event, delivery=delivery)
            except TransientFault as transient:
                fault, tries = transient, tries + 1
            situation = RecordRetrySituation(
                now=self.clock(),
                began_at=began_at,
                deadline_at=deadline_at,
                tries=tries,
                attempt=record.again.attempt,
                terminal=isinstance(delivery.event, OutcomeReached),
                spends=self.stage.spec.spends,
            )
            match decide_record_retry(situation, fault, self.retry, jitter=random.random):
                case WaitInPlace(seconds):
                    await self.sleep(seconds)
                case PutAside(not_before):
                    return self.put_aside(delivery, fault, not_before)
                case GiveUp():
                    log.warning("stage.gave_up", stage=self._name, at=record.place, error=str(fault))
                    event = await self._with_calls(delivery, fault)
                    told = self.dead_letters.give_up(record, event, stage=self._name, fault=fault)
                    return StageDecision(emits=told, event=event)
                case MakeDeadLetter():
                    log.warning("stage.retries_used_up", stage=self._name, at=record.place)
                    return await self.dead_with_spend(delivery, fault)

    async def _with_calls(self, delivery: Delivery[Any], fault: BaseException) -> Event:
        """Return the event with what the stage has spent on it, if anything."""
        event: Event = delivery.event
        if not isinstance(self.stage, RecoversCalls):
            return event
        try:
            return await self.stage.recover_calls(delivery, fault)
        except Exception:
            log.exception("stage.recovery_failed", stage=self._name, at=delivery.record.place)
            return event

    async def _undecodable(self, record: Record, fault: InputError) -> StageDecision:
        """Return the dead letter of a record that holds no event.

        Nobody is told where it came as a request under the id of one that was accepted: the sender of that
        one waits for a reply of its own, and anybody can copy its headers.
        """
        request_id = request_id_of(record) if self._source.open else None
        if request_id is not None and await self._is_known(request_id):
            letter = dead_letter(record, stage=self._name, fault=fault)
            return StageDecision(emits=(letter,), is_dead=True)
        return self.dead(record, None, fault)

    async def _is_known(self, request_id: str) -> bool:
        try:
            return self.knows is not None and await self.knows(request_id)
        except TransientFault:
            return False

    def _deadline(self, delivery: Delivery[Any]) -> datetime:
        envelope = getattr(delivery.event, "envelope", None)
        if envelope is not None:
            deadline: datetime = envelope.deadline_at
            return deadline
        return deadline_of(delivery.record, delivery.event, default_deadline_ms=self.default_deadline_ms)

    def _log_input_fault(self, what: str, record: Record, fault: InputError) -> None:
        """Log a sender's mistake in the words that the sender reads: without personal data."""
        log.warning(what, stage=self._name, at=record.place, error=input_error_info(fault).message)

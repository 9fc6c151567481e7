"""The life of one record in a stage, from its delivery to its acknowledgement. Knows nothing of Faust.

Whatever happens, a record ends in exactly one durable outcome: the broker has acknowledged what the
stage made of it, its copy on the retry topic, or its dead letter. Only then may its offset be committed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from agents.intake import admission
from agents.intake.outcomes import senders_mistake
from agents.runner.dead_letters import DeadLetters
from agents.runner.outgoing import stamped, timing
from agents.runner.retries import Bury, GiveUp, PutAside, RetryPolicy, Situation, Wait, backoff_s, decide
from agents.runner.sending import Lost, Publishes, Sends, Sleep, is_foreign
from agents.runner.watchdog.consumer_progress import Work
from agents.stage import Delivery, Record, Salvages, Stage, Superseded
from streams import codec
from streams.dead_letters import dead_letter
from streams.errors import InputError, TransientFault, UnauthenticRecord, UnknownTopic
from streams.events import Event, OutcomeReached, Reply
from streams.publisher import Emit
from streams.redelivery import put_aside
from streams.topics import RETRIES

_TRIES_TO_NOTE_DELIVERY = 5

log = structlog.get_logger(__name__)


class _Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a record. `delivery` is there where the stage itself said so."""

    emits: Sequence[Emit]
    event: Event | None = None
    delivery: Delivery[Any] | None = None
    put_aside: bool = False
    buried: bool = False


class StageRunner:
    """Runs one stage's records to their outcome.

    Args:
        stage: what to do with an event.
        publisher: where its records go.
        dead_letters: what to do when it fails.
        retry: how transient faults are waited out.
        default_deadline_ms: for requests that name no deadline.
        until_deadline: whether the stage may work on a record until its request's deadline, because it waits
            for somebody slow. The others are done within seconds, and count as stuck if they are not.
        knows: whether a request of this id was accepted; None: nobody can tell.
        clock: the time, UTC-aware.
        sleep: how to wait between two tries.
    """

    def __init__(
        self,
        stage: Stage[Any],
        publisher: Publishes,
        dead_letters: DeadLetters,
        *,
        retry: RetryPolicy,
        default_deadline_ms: int,
        until_deadline: bool = False,
        knows: Callable[[str], Awaitable[bool]] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.stage = stage
        self._sends = Sends(publisher, stage=stage.name, sleep=sleep)
        self._dead_letters = dead_letters
        self._retry = retry
        self._default_deadline_ms = default_deadline_ms
        self._until_deadline = until_deadline
        self._knows = knows
        self._clock = clock
        self._sleep = sleep

    async def run(self, record: Record, work: Work | None = None) -> bool:
        """Bring a record to its durable outcome. Returns only then.

        Args:
            record: as it was read.
            work: where to note what becomes of it.

        Returns:
            Whether it may be acknowledged. Not where another delivery works on it now: were that committed
            before the other one has ended, the record would be lost with the other one's process.
        """
        work = work or Work(record.place, 0.0)
        started_at = self._clock()
        try:
            decision = await self._decide(record, work)
        except Superseded:
            return False
        work.put_aside, work.buried = decision.put_aside, decision.buried
        entry = timing(self.stage.name, record, decision.emits, started_at=started_at, ended_at=self._clock())
        emits = [stamped(emit, self.stage.name, entry) for emit in decision.emits]
        lost = await self._sends.all(emits)
        arrived = await self._make_good(record, decision, emits, lost) if lost else True
        if decision.delivery is not None and arrived:
            await self._note_delivery(decision.delivery, work)
        return True

    async def _decide(self, record: Record, work: Work) -> _Decision:
        """Return what is to be sent; never raises for a fault of the record or the stage.

        `handle` and `delivered` are given the very same delivery.
        """
        event_class = self.stage.source.event
        assert event_class is not None  # noqa: S101  # stages read topics that carry events
        if not (record.authentic or self.stage.source.open):
            log.warning("record.unauthentic", stage=self.stage.name, at=record.place)
            return self._bury(record, None, UnauthenticRecord("Headrace has not written this record"))
        try:
            event = codec.decode(record.value, event_class, record.headers)
        except InputError as fault:
            self._note("record.undecodable", record, fault)
            return await self._bury_undecodable(record, fault)
        delivery: Delivery[Any] = Delivery(event=event, record=record)
        try:
            event = admission.renewed(event, record, default_deadline_ms=self._default_deadline_ms)
            delivery = Delivery(event=event, record=record)
            return await self._handle_in_time(delivery, work)
        except InputError as fault:
            self._note("record.refused", record, fault)
            return self._bury(record, await self._salvaged(delivery, fault), fault)
        except Superseded:
            raise
        except Exception as fault:
            # The one place that catches everything: a bug must not lose the record or stop the stage.
            log.exception("stage.failed", stage=self.stage.name, at=record.place)
            return self._bury(record, await self._salvaged(delivery, fault), fault)

    def _note(self, what: str, record: Record, fault: InputError) -> None:
        """Log a sender's mistake in the words that the sender reads: without personal data."""
        log.warning(what, stage=self.stage.name, at=record.place, error=senders_mistake(fault).message)

    async def _handle_in_time(self, delivery: Delivery[Any], work: Work) -> _Decision:
        """Handle the event, waiting out transient faults: in place at first, then on the retry topic."""
        record, deadline_at = delivery.record, self._deadline(delivery)
        began_at, tries = self._clock(), 0
        if self._until_deadline:
            work.may_take((deadline_at - began_at).total_seconds())
        while True:
            try:
                emits = await self.stage.handle(delivery)
                return _Decision(emits=emits, event=delivery.event, delivery=delivery)
            except TransientFault as transient:
                fault, tries = transient, tries + 1
            at = Situation(
                now=self._clock(),
                began_at=began_at,
                deadline_at=deadline_at,
                tries=tries,
                attempt=record.again.attempt,
                terminal=isinstance(delivery.event, OutcomeReached),
                spends=isinstance(self.stage, Salvages),
            )
            match decide(at, fault, self._retry, jitter=random.random):
                case Wait(seconds):
                    await self._sleep(seconds)
                case PutAside(not_before):
                    return self._put_aside(delivery, fault, not_before)
                case GiveUp():
                    log.warning("stage.gave_up", stage=self.stage.name, at=record.place, error=str(fault))
                    event = await self._salvaged(delivery, fault)
                    told = self._dead_letters.give_up(record, event, stage=self.stage.name, fault=fault)
                    return _Decision(emits=told, event=event)
                case Bury():
                    log.warning("stage.retries_used_up", stage=self.stage.name, at=record.place)
                    return self._bury(record, await self._salvaged(delivery, fault), fault)

    def _put_aside(self, delivery: Delivery[Any], fault: TransientFault, not_before: datetime) -> _Decision:
        """Leave a copy of the record on the retry topic, in its place.

        Records of its key that came after it may overtake it. That is safe, because no stage relies on their
        order: those of one request are its repeats, which the registry, the journal and the settlement tell
        apart by the address of the first record, whichever comes first; and a copy has that address. Within
        the stage's topic it comes back to the partition it had, so that it still is never worked on at the
        same time as they are.
        """
        record = delivery.record
        log.warning(
            "record.put_aside",
            stage=self.stage.name,
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
        return _Decision(emits=(copy,), event=delivery.event, put_aside=True)

    async def _make_good(
        self, record: Record, decision: _Decision, emits: Sequence[Emit], lost: Sequence[Lost]
    ) -> bool:
        """Bring what no retry can deliver to another durable end.

        A reply that its sender's topic does not take comes to our own reply topic. Anything else makes the
        record a dead letter; its sender is told, but for one that has its reply already.

        Returns:
            Whether what the stage made of the record has arrived: if not, a replay must find it undone.
        """
        homeless = [each for each in lost if _is_homeless(each)]
        more = [admission.to_own_topic(each.emit) for each in homeless]
        others = [each for each in lost if not _is_homeless(each)]
        if others and not decision.buried:
            gone = {id(each.emit) for each in others}
            replied = any(isinstance(emit.value, Reply) and id(emit) not in gone for emit in emits)
            fault = others[0].fault
            if replied:
                more.append(dead_letter(record, stage=self.stage.name, fault=fault))
            else:
                kept = decision.delivery and await self._salvaged(decision.delivery, fault)
                more += self._bury(record, kept or decision.event, fault).emits
        for each in (*others, *await self._sends.all(more)):
            log.error(
                "record.undeliverable", stage=self.stage.name, topic=each.emit.topic, error=str(each.fault)
            )
        return not others

    async def _salvaged(self, delivery: Delivery[Any], fault: BaseException) -> Event:
        """Return the event as it is to be told of: with what the stage has spent on it, if anything."""
        event: Event = delivery.event
        if not isinstance(self.stage, Salvages):
            return event
        try:
            return await self.stage.salvage(delivery, fault)
        except Exception:
            log.exception("stage.salvage_failed", stage=self.stage.name, at=delivery.record.place)
            return event

    async def _note_delivery(self, delivery: Delivery[Any], work: Work) -> None:
        """Let the stage note that everything has arrived; later, if what it needs for that stays away.

        The copy that is put aside for that may send the same once more. Its readers recognise a repeat; a
        reply that nobody can fetch they would miss for ever.
        """
        fault: TransientFault | None = None
        for tries in range(1, _TRIES_TO_NOTE_DELIVERY + 1):
            try:
                await self.stage.delivered(delivery)
            except TransientFault as transient:
                fault = transient
                log.warning("stage.note_failed", stage=self.stage.name, tries=tries, error=str(fault))
                await self._sleep(backoff_s(tries, jitter=random.random))
            else:
                return
        if fault is None or delivery.record.again.attempt >= self._retry.attempts:
            log.error("stage.delivery_not_noted", stage=self.stage.name, at=delivery.record.place)
            return
        later = self._clock() + timedelta(seconds=self._retry.max_delay_s)
        work.put_aside = True
        await self._sends.all(self._put_aside(delivery, fault, later).emits)

    async def _bury_undecodable(self, record: Record, fault: InputError) -> _Decision:
        """Bury a record that holds no event.

        Where it came as a request under the id of one that was accepted, nobody is told: who sent that waits
        for a reply of its own, and anybody can copy its headers.
        """
        request_id = admission.request_id_of(record) if self.stage.source.open else None
        if request_id is not None and await self._is_known(request_id):
            letter = dead_letter(record, stage=self.stage.name, fault=fault)
            return _Decision(emits=(letter,), buried=True)
        return self._bury(record, None, fault)

    async def _is_known(self, request_id: str) -> bool:
        try:
            return self._knows is not None and await self._knows(request_id)
        except TransientFault:
            return False

    def _bury(self, record: Record, event: Event | None, fault: BaseException) -> _Decision:
        emits = self._dead_letters.bury(record, event, stage=self.stage.name, fault=fault)
        return _Decision(emits=emits, event=event, buried=True)

    def _deadline(self, delivery: Delivery[Any]) -> datetime:
        envelope = getattr(delivery.event, "envelope", None)
        if envelope is not None:
            deadline: datetime = envelope.deadline_at
            return deadline
        return admission.deadline_of(
            delivery.record, delivery.event, default_deadline_ms=self._default_deadline_ms
        )


def _is_homeless(lost: Lost) -> bool:
    return isinstance(lost.emit.value, Reply) and (
        is_foreign(lost.emit) or isinstance(lost.fault, UnknownTopic)
    )

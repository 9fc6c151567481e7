"""The life of one record in a stage, from its delivery to its acknowledgement. Knows nothing of Faust.

Every record ends in exactly one durable outcome: the broker has acknowledged what the stage made of it, its
copy on the retry topic, or its dead letter. Only then may its offset be committed.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog

from agents.intake.replies import to_own_topic
from agents.runner.in_flight import RecordWork
from agents.runner.record_sender import (
    RecordPublisher,
    RecordSender,
    UnsentRecord,
    is_foreign,
    stamped,
    timing,
)
from agents.runner.stage_handler import StageDecision, StageHandler
from agents.stage import Delivery, Record, Superseded
from streams.backoff import retry as retry_step
from streams.errors import TransientFault, UnknownTopic
from streams.events import Reply
from streams.publisher import Emit
from streams.redelivery import dead_letter

_TRIES_TO_NOTE_DELIVERY = 5

log = structlog.get_logger(__name__)


class StageRunner:
    """Runs one stage's records to their outcome."""

    def __init__(self, handler: StageHandler, publisher: RecordPublisher) -> None:
        self._handler = handler
        self._stage = handler.stage
        self._name = handler.stage.spec.name
        self._sender = RecordSender(publisher, stage=self._name, sleep=handler.sleep)

    async def run(self, record: Record, work: RecordWork) -> bool:
        """Bring a record to its durable outcome, noted in `work`; return then whether it may be acknowledged.

        Not where another delivery works on it now: were that committed before the other one has ended, the
        record would be lost with the other one's process.
        """
        started_at = self._handler.clock()
        try:
            decision = await self._handler.decide(record, work)
        except Superseded:
            return False
        work.put_aside, work.is_dead = decision.put_aside, decision.is_dead
        entry = timing(
            self._name, record, decision.emits, started_at=started_at, ended_at=self._handler.clock()
        )
        emits = [stamped(emit, self._name, entry) for emit in decision.emits]
        lost = await self._sender.send_all(emits)
        arrived = await self._make_good(record, decision, emits, lost) if lost else True
        if decision.delivery is not None and arrived:
            await self._note_delivery(decision.delivery, work)
        return True

    async def _make_good(
        self, record: Record, decision: StageDecision, emits: Sequence[Emit], lost: Sequence[UnsentRecord]
    ) -> bool:
        """Bring what no retry can deliver to another durable end.

        A reply that its sender's topic does not take goes to our own reply topic. Anything else makes the
        record a dead letter. Its sender is told, unless it has its reply already.

        Returns:
            Whether what the stage made of the record has arrived: if not, a replay must find it undone.
        """
        homeless = [each for each in lost if _is_homeless(each)]
        more = [to_own_topic(each.emit) for each in homeless]
        others = [each for each in lost if not _is_homeless(each)]
        if others and not decision.is_dead:
            gone = {id(each.emit) for each in others}
            replied = any(isinstance(emit.value, Reply) and id(emit) not in gone for emit in emits)
            fault = others[0].fault
            if replied:
                more.append(dead_letter(record, stage=self._name, fault=fault))
            elif decision.delivery is not None:
                more += (await self._handler.dead_with_spend(decision.delivery, fault)).emits
            else:
                more += self._handler.dead(record, decision.event, fault).emits
        for each in (*others, *await self._sender.send_all(more)):
            log.error("record.undeliverable", stage=self._name, topic=each.emit.topic, error=str(each.fault))
        return not others

    async def _note_delivery(self, delivery: Delivery[Any], work: RecordWork) -> None:
        """Let the stage note that everything has arrived; later, if what it needs for that stays away.

        The copy that is put aside for that may send the same once more. Its readers recognise a repeat; a
        reply that nobody can fetch they would miss for ever.
        """

        def note(tries: int, fault: TransientFault) -> None:
            log.warning("stage.note_failed", stage=self._name, tries=tries, error=str(fault))

        try:
            await retry_step(
                lambda: self._stage.delivered(delivery),
                attempts=_TRIES_TO_NOTE_DELIVERY,
                on_failure=note,
                sleep=self._handler.sleep,
            )
        except TransientFault as fault:
            if delivery.record.again.attempt >= self._handler.retry.attempts:
                log.error("stage.delivery_not_noted", stage=self._name, at=delivery.record.place)  # noqa: TRY400  # no bug
                return
            later = self._handler.clock() + timedelta(seconds=self._handler.retry.max_delay_s)
            work.put_aside = True
            await self._sender.send_all(self._handler.put_aside(delivery, fault, later).emits)


def _is_homeless(lost: UnsentRecord) -> bool:
    return isinstance(lost.emit.value, Reply) and (
        is_foreign(lost.emit) or isinstance(lost.fault, UnknownTopic)
    )

"""The embeddings stage: takes a request in, claims it, asks its model, and says what came of it.

What the guardrail and the LLM stage do for chat is done here in one hop, by the same rules: the registry
knows repeats, the journal has each call before it is made, and the outcome goes to *cost* with every call in
it. Texts are not looked through for injections: an embedding model follows no instructions.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import structlog

from agents.checks.json_texts import Redact
from agents.embedding_stage.attempts import Attempts, Work
from agents.embedding_stage.conclusions import conclude
from agents.embedding_stage.order import Order, order_of
from agents.intake.intake import Admitted, Intake
from agents.intake.outcomes import decided, senders_mistake
from agents.llm.conclusions import with_calls
from agents.llm.result import of_this_run
from agents.paid_calls.call_journal import Books
from agents.paid_calls.ports import CallJournal, Clock
from agents.stage import Delivery, Superseded
from agents.stores.journal import Claimed, Fenced, Finished, Hold
from streams import pipeline
from streams.codec import decode, encode
from streams.errors import InputError, StoreUnavailable
from streams.events import EmbeddingsRequested, Envelope, Event, OutcomeReached, Status
from streams.publisher import Emit
from streams.request_rules.embeddings import EmbeddingLimits, check_embeddings, embedding_model
from streams.topics import OUTCOMES

#: From this size on a request is counted and redacted in a thread: the event loop has heartbeats to send.
_LONG_BYTES = 8_192
_MAX_KEPT = 10_000

log = structlog.get_logger(__name__)


class InHand(Event, frozen=True, kw_only=True):
    """A request that failed here after it was admitted, with the calls that were made for it."""

    envelope: Envelope


class _Progress:
    """How far this worker is with a delivery."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.work: Work | None = None
        self.unsent: Hold | None = None


class EmbeddingsStage:
    """Gets vectors from a model, once per request whatever happens to the worker.

    Args:
        intake: registers requests, and knows those that were seen before.
        attempts: asks the model.
        journal: where requests are claimed and calls noted.
        redact: replaces personal data in a text.
        limits: how much a request may ask for.
        instance: who claims, for operators to read.
        clock: the time.
    """

    spec = pipeline.EMBEDDINGS

    def __init__(
        self,
        *,
        intake: Intake,
        attempts: Attempts,
        journal: CallJournal,
        redact: Redact,
        limits: EmbeddingLimits,
        instance: str,
        clock: Clock,
    ) -> None:
        self._intake = intake
        self._attempts = attempts
        self._redact = redact
        self._limits = limits
        self._instance = instance
        self._books = Books(journal, clock, stage=self.spec.name)
        # By the delivery's identity: a zombie's, of the same record, is another one.
        self._in_hand: OrderedDict[int, tuple[Delivery[EmbeddingsRequested], _Progress]] = OrderedDict()

    async def handle(self, delivery: Delivery[EmbeddingsRequested]) -> Sequence[Emit]:
        """Return the outcome; of a repeat, its stored reply or nothing.

        Raises:
            StoreUnavailable: the registry or the journal does not answer, so no call may be made.
        """
        admitted = await self._intake.admit(delivery.record, delivery.event)
        if not isinstance(admitted, Admitted):
            return admitted
        if admitted.refusal is not None:
            return decided(admitted.envelope, Status.FAILED, error=senders_mistake(admitted.refusal))
        progress = self._keep(delivery, admitted.envelope)
        try:
            # What has been cancelled, or is late, is claimed all the same: calls may have been made for it.
            return await self._claimed(delivery, progress)
        except Fenced as fenced:
            log.warning("embeddings.fenced", request_id=admitted.envelope.request_id, reason=str(fenced))
            self._in_hand.pop(id(delivery), None)
            raise Superseded from fenced
        except (StoreUnavailable, asyncio.CancelledError):  # no call is in no book: see `Attempts.run`
            self._in_hand.pop(id(delivery), None)
            raise

    async def delivered(self, delivery: Delivery[EmbeddingsRequested]) -> None:
        """Note that the broker has the result. Where Redis is away, a repeat would be sent again: no harm."""
        _, progress = self._in_hand.pop(id(delivery), (None, None))
        if progress is None or progress.unsent is None:
            return
        await self._books.sent(progress.unsent)

    async def salvage(self, delivery: Delivery[EmbeddingsRequested], fault: BaseException) -> Event:
        """Return the request in its envelope, with every call that was made for it.

        A request that was not admitted, as far as we know, comes back as it is.

        Args:
            delivery: the very one that `handle` was given; it raised, or what it returned cannot be sent.
            fault: why.
        """
        _, progress = self._in_hand.pop(id(delivery), (None, None))
        envelope = progress.envelope if progress else self._intake.open(delivery.record, delivery.event)
        calls = await self._books.salvaged(
            envelope.request_id,
            record=delivery.record.address,
            work=progress.work if progress else None,
            fault=fault,
        )
        if progress is None and not calls:
            return delivery.event
        return InHand(envelope=with_calls(envelope, calls))

    async def _claimed(self, delivery: Delivery[EmbeddingsRequested], progress: _Progress) -> Sequence[Emit]:
        envelope = progress.envelope
        try:
            order = await self._order(delivery, envelope)
        except InputError as fault:
            return decided(envelope, Status.FAILED, error=senders_mistake(fault))
        claim = await self._books.claim(envelope, record=delivery.record.address, instance=self._instance)
        match claim:
            case None:
                return ()
            case Finished(hold=hold, result=result):
                progress.unsent = hold
                return (_emit(of_this_run(decode(result, OutcomeReached), envelope.replay)),)
            case Claimed(hold=hold):
                progress.envelope = order.envelope
                outcome = await self._work(order, claim, progress)
                progress.unsent = hold
                return (_emit(outcome),)

    async def _order(self, delivery: Delivery[EmbeddingsRequested], envelope: Envelope) -> Order:
        def order() -> Order:
            return order_of(
                delivery.event,
                envelope,
                model=embedding_model(delivery.event.model),
                input_tokens=check_embeddings(delivery.event, self._limits),
                redact=self._redact,
            )

        if len(delivery.record.value or b"") > _LONG_BYTES:
            return await asyncio.to_thread(order)
        return order()

    async def _work(self, order: Order, claimed: Claimed, progress: _Progress) -> OutcomeReached:
        work = progress.work = Work(order, claimed.hold, calls=self._books.former_calls(claimed))
        outcome = conclude(work, await self._attempts.run(work))
        await self._books.store(work, encode(outcome))
        return outcome

    def _keep(self, delivery: Delivery[EmbeddingsRequested], envelope: Envelope) -> _Progress:
        progress = _Progress(envelope)
        self._in_hand[id(delivery)] = delivery, progress
        while len(self._in_hand) > _MAX_KEPT:
            self._in_hand.popitem(last=False)
        return progress


def _emit(outcome: OutcomeReached) -> Emit:
    return Emit.to(OUTCOMES, outcome, key=outcome.envelope.request_id)

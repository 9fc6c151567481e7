"""The LLM stage: claims the request, asks the models, and says what came of it."""

import asyncio
import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog

from agents.intake.outcomes import senders_mistake
from agents.llm.conclusions import conclude, failed, too_long, unknown_model, with_calls
from agents.llm.result import Outcome, emit, of_this_run, pack, unpack
from agents.llm.routing import route
from agents.paid_calls.attempts import Attempts, Work
from agents.paid_calls.call_journal import Books
from agents.paid_calls.cancellation_watch import Pause
from agents.paid_calls.circuit_breaker import Circuits
from agents.paid_calls.paid_work import OutOfTime
from agents.paid_calls.policy import LlmPolicy
from agents.paid_calls.ports import CallJournal, Clock, DeltaSink, GuardFactory, SystemClock
from agents.paid_calls.provider_call import Caller
from agents.providers.port import Provider
from agents.providers.usage import count_input
from agents.stage import Delivery, Superseded
from agents.stores.journal import Claimed, Fenced, Finished, Hold
from streams import pipeline
from streams.errors import StoreUnavailable
from streams.events import CacheMissed
from streams.models import MODELS, ProviderName
from streams.publisher import Emit
from streams.request_rules.chat import not_kept
from streams.request_rules.parameters import unkept

_MAX_KEPT = 10_000

T = TypeVar("T")

log = structlog.get_logger(__name__)


class LlmStage:
    """Gets an answer from a model, once per request whatever happens to the worker.

    Args:
        providers: the providers there are keys for.
        journal: where requests are claimed and calls noted.
        deltas: where pieces of streamed answers are published.
        guards: makes the guard that checks a streamed answer before it is published.
        policy: the settings.
        clock: the time.
        new_call_id: mints ids of provider calls.
        jitter: returns random numbers from 0 to 1.
        pause: waits for a number of seconds between two looks at whether a call is still wanted.
    """

    spec = pipeline.LLM

    def __init__(
        self,
        *,
        providers: Mapping[ProviderName, Provider],
        journal: CallJournal,
        deltas: DeltaSink,
        guards: GuardFactory,
        policy: LlmPolicy,
        clock: Clock | None = None,
        new_call_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        jitter: Callable[[], float] = random.random,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._providers = providers
        self._policy = policy
        self._clock = clock or SystemClock()
        self._books = Books(journal, self._clock, stage=self.spec.name)
        caller = Caller(deltas=deltas, guards=guards, clock=self._clock, policy=policy)
        self._attempts = Attempts(
            providers=providers,
            caller=caller,
            circuits=Circuits(threshold=policy.breaker_threshold, reset_s=policy.breaker_reset_s),
            journal=journal,
            clock=self._clock,
            new_call_id=new_call_id,
            random=jitter,
            policy=policy,
            pause=pause,
        )
        # The deliveries whose result is on its way to the broker, by identity. Only `delivered` for the very
        # delivery that returned the result may close its entry: a zombie's, of the same record, may not.
        self._unsent: OrderedDict[int, tuple[Delivery[CacheMissed], Hold]] = OrderedDict()
        # What is worked on, and what a bug has ended, until it is salvaged.
        self._works: OrderedDict[int, tuple[Delivery[CacheMissed], Work]] = OrderedDict()

    async def handle(self, delivery: Delivery[CacheMissed]) -> Sequence[Emit]:
        """Return the answer, the degraded answer, or the failure; nothing for a repeat.

        Raises:
            StoreUnavailable: the journal does not answer, so no call may be made.
        """
        envelope = delivery.event.envelope
        claim = await self._books.claim(
            envelope, record=delivery.record.address, instance=self._policy.instance
        )
        match claim:
            case None:
                return ()
            case Finished(hold=hold, result=result):
                return self._to_send(delivery, hold, of_this_run(unpack(result), envelope.replay))
            case Claimed():
                return await self._work(delivery, claim)

    async def delivered(self, delivery: Delivery[CacheMissed]) -> None:
        """Note that the broker has the result. Where Redis is away, a repeat would be sent again: no harm."""
        self._works.pop(id(delivery), None)
        _, hold = self._unsent.pop(id(delivery), (None, None))
        if hold is None:
            return
        await self._books.sent(hold)

    async def salvage(self, delivery: Delivery[CacheMissed], fault: BaseException) -> CacheMissed:
        """Return the event of a delivery that came to nothing, with every call that was made for it.

        To be asked for before the sender is told of the failure: what the calls have spent is then booked
        with it. Afterwards the journal knows the calls as they were booked, so that a replay books the same.

        Args:
            delivery: the very one that `handle` was given; it raised, or what it returned cannot be sent.
            fault: why.
        """
        event = delivery.event
        _, work = self._works.pop(id(delivery), (None, None))
        self._unsent.pop(id(delivery), None)
        calls = await self._books.salvaged(
            event.envelope.request_id, record=delivery.record.address, work=work, fault=fault
        )
        return msgspec.structs.replace(event, envelope=with_calls(event.envelope, calls))

    async def _work(self, delivery: Delivery[CacheMissed], claimed: Claimed) -> Sequence[Emit]:
        event = delivery.event
        work = Work(
            event,
            claimed.hold,
            input_tokens=count_input(event.messages, event.envelope.request.tools or ()),
            calls=self._books.former_calls(claimed),
        )
        _keep(self._works, delivery, work)
        try:
            outcome = await self._outcome(work)
            await self._books.store(work, pack(outcome))
        except Fenced as fenced:
            log.warning("llm.fenced", request_id=claimed.hold.request_id, reason=str(fenced))
            self._works.pop(id(delivery), None)
            raise Superseded from fenced
        except (StoreUnavailable, asyncio.CancelledError):  # no call is in no book: see `Attempts.run`
            self._works.pop(id(delivery), None)
            raise
        return self._to_send(delivery, claimed.hold, outcome)

    async def _outcome(self, work: Work) -> Outcome:
        if work.remaining_s(self._clock.now()) <= 0:
            return conclude(work, OutOfTime())
        wanted = work.event.envelope.request.model or work.event.default_model
        if wanted not in MODELS:
            return failed(work, unknown_model(wanted))
        request = work.event.envelope.request
        if kept := unkept(request, MODELS[wanted].provider):
            return failed(work, senders_mistake(not_kept(kept.param, kept.why, wanted)))
        routing = route(
            wanted=wanted,
            fallbacks=self._policy.fallback_models,
            providers=[each for each in self._providers if unkept(request, each) is None],
            input_tokens=work.input_tokens,
            max_output_tokens=work.event.max_output_tokens,
        )
        if routing.too_small and not routing.routes:
            return failed(work, too_long(work, routing))
        return conclude(work, await self._attempts.run(work, routing.routes))

    def _to_send(self, delivery: Delivery[CacheMissed], hold: Hold, outcome: Outcome) -> Sequence[Emit]:
        _keep(self._unsent, delivery, hold)
        return (emit(outcome),)


def _keep(
    kept: OrderedDict[int, tuple[Delivery[CacheMissed], T]], delivery: Delivery[CacheMissed], value: T
) -> None:
    kept[id(delivery)] = delivery, value
    while len(kept) > _MAX_KEPT:
        kept.popitem(last=False)

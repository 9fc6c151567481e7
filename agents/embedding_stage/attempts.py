"""From texts to vectors: one model, with retries.

Another model is no fallback: its vectors do not compare with those that the sender has.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from agents.embedding_stage.order import Order
from agents.llm.prompt import hashed_user
from agents.llm.routing import Route
from agents.paid_calls.attempts import RequestRefused
from agents.paid_calls.call_journal import Books
from agents.paid_calls.call_progress import Reading
from agents.paid_calls.cancellation_watch import Lookout, Pause
from agents.paid_calls.circuit_breaker import Circuits, Permit
from agents.paid_calls.paid_work import Abandoned, OutOfTime, PaidWork, ended
from agents.paid_calls.policy import LlmPolicy
from agents.paid_calls.ports import CallJournal, Clock
from agents.paid_calls.provider_call import CANCELLED
from agents.paid_calls.retry import Action
from agents.providers.faults import ProviderFault, Refused
from agents.providers.port import Answer, Embedded, EmbeddingCall, EmbeddingProvider
from agents.stores.journal import BegunCall, Cancelled, Hold
from streams.events import LlmCall
from streams.models import ProviderName

#: How often it is looked whether a circuit lets calls through again, in seconds.
_PERMIT_STEP_S = 0.5

log = structlog.get_logger(__name__)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The model answered, in call number `attempt`."""

    embedded: Embedded
    attempt: int


class GaveUp(msgspec.Struct, frozen=True):
    """The model does not answer. `fault`: why; None where it was not asked, because it did not before."""

    fault: ProviderFault | None = None


class NotServed(msgspec.Struct, frozen=True):
    """There is no key for the model's provider."""


Ending = Made | RequestRefused | OutOfTime | GaveUp | NotServed | Abandoned


class Work(PaidWork[EmbeddingCall]):
    """One request while it is worked on.

    Args:
        order: what is asked.
        hold: its claim in the journal.
        calls: the calls of former attempts.
    """

    def __init__(self, order: Order, hold: Hold, *, calls: Iterable[LlmCall] = ()) -> None:
        super().__init__(hold, deadline_at=order.envelope.deadline_at, calls=calls)
        self.order = order
        self.fault: ProviderFault | None = None


class Attempts:
    """Asks a model until it answers.

    Args:
        providers: the providers there are keys for.
        circuits: what is known of the models' health.
        journal: where each call is noted before it is made, and which knows what was cancelled.
        clock: the time.
        new_call_id: mints ids of calls.
        random: returns numbers from 0 to 1, for jitter.
        policy: the settings that are those of the LLM stage, too.
        pause: waits for a number of seconds between two looks at whether a call is still wanted.
    """

    def __init__(
        self,
        *,
        providers: Mapping[ProviderName, EmbeddingProvider],
        circuits: Circuits,
        journal: CallJournal,
        clock: Clock,
        new_call_id: Callable[[], str],
        random: Callable[[], float],
        policy: LlmPolicy,
        pause: Pause,
    ) -> None:
        self._providers = providers
        self._circuits = circuits
        self._books = Books(journal, clock, stage="embeddings")
        self._clock = clock
        self._new_call_id = new_call_id
        self._random = random
        self._policy = policy
        self._lookout = Lookout(journal, pause=pause)

    async def run(self, work: Work) -> Ending:
        """Return how the request ends; every call made is in `work.calls` then.

        Raises:
            Fenced: another attempt took over.
            StoreUnavailable: the journal does not answer, so no call may be made, and none was: the whole
                may be tried again. Later, when there is spend to book, the journal is waited for.
        """
        work.reserve_s = self._policy.reserve_s(work.remaining_s(self._clock.now()))
        return await ended(work, self._run(work))

    async def _run(self, work: Work) -> Ending:
        provider = self._providers.get(work.order.model.provider)
        if provider is None:
            return NotServed()
        for try_number in range(1, self._policy.tries_per_model + 1):
            if work.usable_s(self._clock.now()) <= 0:
                return OutOfTime()
            ending = await self._try(provider, work)
            if ending is not None:
                return ending
            wait_s = self._wait_s(work, try_number)
            if wait_s is None:
                break
            await self._lookout.rest(work.hold, self._clock.sleep(wait_s))
        fault = work.fault
        return RequestRefused(fault) if isinstance(fault, Refused) else GaveUp(fault)

    async def _try(self, provider: EmbeddingProvider, work: Work) -> Ending | None:
        """Make one call. None: it failed, with `work.fault`."""
        route = Route(model=work.order.model, max_output_tokens=0)
        permit = await self._permit(route.name, work)
        if permit is None:
            log.info("embeddings.circuit_open", request_id=work.hold.request_id, circuit=route.name)
            return GaveUp(work.fault)
        try:
            ending, telling = await self._call(provider, route, work)
            if telling:
                permit.settle(None if isinstance(ending, Made) else work.fault)
        finally:
            permit.release()
        return ending

    async def _permit(self, circuit: str, work: Work) -> Permit | None:
        """Return leave to call the model; None where it was refused for as long as a circuit stays open.

        A chat request goes to the next model at once. Here there is none, and a few quick faults of some
        requests should not be the end of all others that have time.
        """
        permit = await self._circuits.permit(circuit)
        if permit is not None:
            return permit
        patience_s = min(self._policy.breaker_reset_s + _PERMIT_STEP_S, work.usable_s(self._clock.now()))
        watch = self._lookout.watch(work.hold)
        try:
            async with watch.over():
                while permit is None and patience_s > _PERMIT_STEP_S:
                    await self._clock.sleep(_PERMIT_STEP_S)
                    patience_s -= _PERMIT_STEP_S
                    permit = await self._circuits.permit(circuit)
        except BaseException:
            if permit is not None:
                permit.release()
            raise
        if permit is None and watch.cancelled is not None:
            raise Cancelled(work.hold, watch.cancelled)
        return permit

    async def _call(
        self, provider: EmbeddingProvider, route: Route, work: Work
    ) -> tuple[Made | Abandoned | None, bool]:
        """Return how the call ended, and whether that tells something of the provider's health."""
        reading = await self._begin(route, work)
        watch = self._lookout.watch(work.hold)
        embedded: Embedded | None = None
        fault: ProviderFault | None = None
        try:
            async with watch.over():
                embedded = await provider.embed(reading.call)
        except ProviderFault as error:
            fault = error
        now = self._clock.monotonic()
        if embedded is not None:
            answer = Answer(text="", model=embedded.model, finish_reason="", usage=embedded.usage)
            work.book(reading.answered(answer, now))
            return Made(embedded=embedded, attempt=reading.number), True
        booked = reading.cut_off(CANCELLED, now) if fault is None else reading.failed(fault, now)
        work.book(booked)
        await self._books.end(work, booked)
        work.fault = fault
        if watch.cancelled is not None:
            return Abandoned(watch.cancelled), False
        telling = fault is None or not self._policy.cut_short(fault, reading.call.timeouts, begun=False)
        return None, telling

    async def _begin(self, route: Route, work: Work) -> Reading[EmbeddingCall]:
        order = work.order
        begun = BegunCall(
            call_id=self._new_call_id(),
            provider=order.model.provider,
            model=order.model.name,
            started_at=self._clock.now(),
            input_tokens=order.input_tokens,
        )
        number = await self._books.begin(work, begun)
        now = self._clock.now()  # not the time above: it may have waited for the journal
        call = EmbeddingCall(
            call_id=begun.call_id,
            model=order.model.name,
            inputs=order.inputs,
            timeouts=self._policy.timeouts(
                remaining_s=work.remaining_s(now), reserve_s=work.reserve_s, stream=False, has_next=False
            ),
            input_tokens=order.input_tokens,
            dimensions=order.dimensions,
            user=hashed_user(order.envelope),
        )
        work.reading = Reading(call, route, number=number, started_at=now, started=self._clock.monotonic())
        return work.reading

    def _wait_s(self, work: Work, try_number: int) -> float | None:
        """Return how long to wait before the next try; None where there is none."""
        fault = work.fault
        if fault is None:
            return None
        decision = self._books.after_fault(
            work,
            fault,
            model=work.order.model.name,
            try_number=try_number,
            tries=self._policy.tries_per_model,
            has_next=False,
            jitter=self._random(),
        )
        return decision.wait_s if decision.action is Action.WAIT else None

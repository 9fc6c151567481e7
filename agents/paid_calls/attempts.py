"""From a prompt to an answer: retries on one model, then the next model."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import structlog

from agents.llm.prompt import provider_call
from agents.llm.routing import Route
from agents.paid_calls.call_journal import Books
from agents.paid_calls.call_progress import Reading
from agents.paid_calls.cancellation_watch import Lookout, Pause
from agents.paid_calls.circuit_breaker import Circuits
from agents.paid_calls.paid_work import Abandoned, OutOfTime, PaidWork, ended
from agents.paid_calls.policy import LlmPolicy
from agents.paid_calls.ports import CallJournal, Clock
from agents.paid_calls.provider_call import Called, Caller
from agents.paid_calls.retry import Action
from agents.providers.faults import ProviderFault, Refused
from agents.providers.port import Answer, Provider, ProviderCall
from agents.providers.usage import tier_name
from agents.stores.journal import BegunCall, Hold
from streams.events import CacheMissed, LlmCall
from streams.models import ProviderName

log = structlog.get_logger(__name__)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """`model` answered, by the name that it was asked under, in call number `attempt`."""

    answer: Answer
    provider: ProviderName
    model: str
    attempt: int


class RequestRefused(msgspec.Struct, frozen=True):
    """The provider says that the request is wrong; another try would not help."""

    fault: Refused


class Exhausted(msgspec.Struct, frozen=True):
    """No model answered."""


Ending = Answered | RequestRefused | OutOfTime | Exhausted | Abandoned
_FINAL = Answered | RequestRefused | OutOfTime | Abandoned


class Work(PaidWork[ProviderCall]):
    """One chat request while it is worked on.

    Args:
        event: the request with its prompt.
        hold: its claim in the journal.
        input_tokens: the size of the prompt.
        calls: the calls of former attempts.
    """

    def __init__(
        self, event: CacheMissed, hold: Hold, *, input_tokens: int, calls: Iterable[LlmCall] = ()
    ) -> None:
        super().__init__(hold, deadline_at=event.envelope.deadline_at, calls=calls)
        self.event = event
        self.input_tokens = input_tokens
        self.faults: list[ProviderFault] = []


class Attempts:
    """Asks one model after another until one answers.

    Args:
        providers: the providers there are keys for.
        caller: makes single calls.
        circuits: what is known of the models' health.
        journal: where each call is noted before it is made, and which knows what was cancelled.
        clock: the time.
        new_call_id: mints ids of calls.
        random: returns numbers from 0 to 1, for jitter.
        policy: the stage's settings.
        pause: waits for a number of seconds between two looks at whether a call is still wanted.
    """

    def __init__(
        self,
        *,
        providers: Mapping[ProviderName, Provider],
        caller: Caller,
        circuits: Circuits,
        journal: CallJournal,
        clock: Clock,
        new_call_id: Callable[[], str],
        random: Callable[[], float],
        policy: LlmPolicy,
        pause: Pause,
    ) -> None:
        self._providers = providers
        self._caller = caller
        self._circuits = circuits
        self._books = Books(journal, clock, stage="llm")
        self._clock = clock
        self._new_call_id = new_call_id
        self._random = random
        self._policy = policy
        self._lookout = Lookout(journal, pause=pause)

    async def run(self, work: Work, routes: Iterable[Route]) -> Ending:
        """Return how the request ends; every call made is in `work.calls` then.

        Raises:
            Fenced: another attempt took over.
            StoreUnavailable: the journal does not answer, so no call may be made, and none was: the whole
                may be tried again. Later, when there is spend to book, the journal is waited for.
        """
        work.reserve_s = self._policy.reserve_s(work.remaining_s(self._clock.now()))
        return await ended(work, self._run(work, list(routes)))

    async def _run(self, work: Work, left: list[Route]) -> Ending:
        while left:
            route = left.pop(0)
            ending = await self._try_model(work, route, left)
            if isinstance(ending, _FINAL):
                return ending
            if ending is Action.NEXT_PROVIDER:
                left = [other for other in left if other.model.provider != route.model.provider]
        if work.remaining_s(self._clock.now()) <= 0:
            return OutOfTime()
        refusals = [fault for fault in work.faults if isinstance(fault, Refused)]
        if refusals and len(refusals) == len(work.faults):
            return RequestRefused(refusals[0])
        return Exhausted()

    async def _try_model(self, work: Work, route: Route, left: Sequence[Route]) -> Ending | Action:
        for try_number in range(1, self._policy.tries_per_model + 1):
            if work.remaining_s(self._clock.now()) <= 0:
                return OutOfTime()
            has_next = await self._circuits.may_permit_any(other.name for other in left)
            called = await self._call_if_healthy(work, route, has_next=has_next)
            if called is None:
                return Action.NEXT_MODEL
            ending = _ending(called, route)
            if ending is not None:
                return ending
            decision = self._books.after_fault(
                work,
                work.faults[-1],
                model=route.name,
                try_number=try_number,
                tries=self._policy.tries_per_model,
                has_next=has_next,
                jitter=self._random(),
            )
            if decision.action is Action.GIVE_UP and isinstance(called.fault, Refused):
                return RequestRefused(called.fault)
            if decision.action is not Action.WAIT:
                return decision.action
            await self._lookout.rest(work.hold, self._clock.sleep(decision.wait_s))
        return Action.NEXT_MODEL

    async def _call_if_healthy(self, work: Work, route: Route, *, has_next: bool) -> Called | None:
        if work.usable_s(self._clock.now()) <= 0:
            return None
        permit = await self._circuits.permit(route.name)
        if permit is None:
            log.info("llm.circuit_open", request_id=work.hold.request_id, circuit=route.name)
            return None
        try:
            called = await self._call(work, route, has_next=has_next)
            if called.telling:
                permit.settle(called.fault)
        finally:
            permit.release()
        return called

    async def _call(self, work: Work, route: Route, *, has_next: bool) -> Called:
        begun = BegunCall(
            call_id=self._new_call_id(),
            provider=route.model.provider,
            model=route.model.name,
            started_at=self._clock.now(),
            input_tokens=work.input_tokens,
            service_tier=tier_name((work.event.envelope.request.params or {}).get("service_tier")),
        )
        number = await self._books.begin(work, begun)
        now = self._clock.now()  # not the time above: it may have waited for the journal
        call = provider_call(
            work.event,
            route,
            call_id=begun.call_id,
            input_tokens=work.input_tokens,
            timeouts=self._policy.timeouts(
                remaining_s=work.remaining_s(now),
                reserve_s=work.reserve_s,
                stream=work.event.envelope.request.stream,
                has_next=has_next,
            ),
            policy=self._policy,
        )
        work.reading = Reading(call, route, number=number, started_at=now, started=self._clock.monotonic())
        called = await self._caller.call(
            self._providers[route.model.provider],
            work.reading,
            event=work.event,
            watch=self._lookout.watch(work.hold),
        )
        work.book(called.booked)
        if called.fault is not None:
            work.faults.append(called.fault)
        if called.answer is None:
            await self._books.end(work, called.booked)
        return called


def _ending(called: Called, route: Route) -> Ending | None:
    """Return how the request ends with this call, where it does whatever the fault was."""
    if called.answer is not None:
        return Answered(
            answer=called.answer,
            provider=route.model.provider,
            model=route.model.name,
            attempt=called.booked.attempt,
        )
    return None if called.cancelled is None else Abandoned(called.cancelled)

"""The call loop: retries on one model, then the next model, until one answers.

The LLM stage and the embeddings stage make their calls here. Each call takes the same steps: the circuit
breaker permits it, the journal notes it, the provider is called while the cancellation watch looks on, and
the call is booked. `decide_call_retry` decides what follows a failed call.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from agents.paid_calls.call_booking import A, C, CallProgress, charge, lost_usage
from agents.paid_calls.call_policy import (
    CallPermit,
    CallPolicy,
    CallRetryAction,
    CallRetryDecision,
    CircuitBreakers,
    decide_call_retry,
)
from agents.paid_calls.cancellation_watch import CancellationWatch
from agents.paid_calls.paid_request import (
    Answered,
    CallKind,
    CallPorts,
    Ending,
    Exhausted,
    OutOfTime,
    PaidRequest,
    RequestCancelled,
    RequestRefused,
    StageLog,
)
from agents.paid_calls.paid_work import CallJournal
from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    ProviderFault,
    QuotaExhausted,
    Refused,
)
from agents.stores.journal_entries import BegunCall, Cancelled
from streams.errors import StoreUnavailable
from streams.events import LlmCall
from streams.model_catalogue import Model

#: `LlmCall.error` of a call that was stopped because its request was cancelled.
CANCELLED = "cancelled"
#: Seconds between two looks whether a circuit lets calls through again.
_PERMIT_STEP_S = 0.5

R = TypeVar("R", bound=PaidRequest)


class CallLoop(Generic[R, C, A]):
    """Calls models until one answers."""

    def __init__(
        self,
        kind: CallKind[R, C, A],
        *,
        journal: CallJournal,
        ports: CallPorts,
        policy: CallPolicy,
        log: StageLog,
    ) -> None:
        self._kind: CallKind[R, C, A] = kind
        self._journal = journal
        self._ports = ports
        self._clock = ports.clock
        self._policy = policy
        self._log = log
        self._watch = CancellationWatch(ports.journal, pause=ports.pause)
        self.breakers = CircuitBreakers(threshold=policy.breaker_threshold, reset_s=policy.breaker_reset_s)

    async def run(self, request: R, models: Iterable[Model]) -> Ending[A]:
        """Ask the models in turn; return how the request ends. Every call made is in `request.calls` then.

        Raises:
            Fenced: another attempt took over.
            StoreUnavailable: the journal does not answer, so no call may be made, and none was: the whole may
                be tried again. Later, when there is spend to book, the journal is waited for.
        """
        request.reserve_s = self._policy.reserve_s(request.remaining_s(self._clock.now()))
        try:
            return await self._try_each(request, list(models))
        except StoreUnavailable:
            if not request.calls:
                raise
            return OutOfTime()
        except Cancelled as cancelled:
            return RequestCancelled(cancelled.reason)

    async def _try_each(self, request: R, left: list[Model]) -> Ending[A]:
        while left:
            model = left.pop(0)
            ending = await self._try_model(request, model, left)
            if not isinstance(ending, CallRetryAction):
                return ending
            if ending is CallRetryAction.NEXT_PROVIDER:
                left = [other for other in left if other.provider != model.provider]
        if request.remaining_s(self._clock.now()) <= 0:
            return OutOfTime()
        refusals = [fault for fault in request.faults if isinstance(fault, Refused)]
        if refusals and len(refusals) == len(request.faults):
            return RequestRefused(refusals[0])
        return Exhausted(request.faults[-1] if request.faults else None)

    async def _try_model(
        self, request: R, model: Model, left: Sequence[Model]
    ) -> Ending[A] | CallRetryAction:
        for try_number in range(1, self._policy.provider_tries + 1):
            if request.remaining_s(self._clock.now()) <= 0:
                return OutOfTime()
            has_next = await self.breakers.may_permit_any(_circuit(other) for other in left)
            result = await self._call_if_permitted(request, model, has_next=has_next)
            if result is None:
                return CallRetryAction.NEXT_MODEL
            if not isinstance(result, ProviderFault):
                return result
            decision = self._decide(request, result, model, try_number=try_number, has_next=has_next)
            if decision.action is CallRetryAction.GIVE_UP and isinstance(result, Refused):
                return RequestRefused(result)
            if decision.action is not CallRetryAction.WAIT:
                return decision.action
            await self._watch.wait(request.lease, self._clock.sleep(decision.wait_s))
        return CallRetryAction.NEXT_MODEL

    async def _call_if_permitted(
        self, request: R, model: Model, *, has_next: bool
    ) -> Answered[A] | ProviderFault | None:
        """Make one call; None where there is no time for it, or the circuit is open."""
        if request.usable_s(self._clock.now()) <= 0:
            return None
        permit = await self._permit(request, _circuit(model))
        if permit is None:
            self._log("circuit_open", request.lease.request_id, level=logging.INFO, circuit=_circuit(model))
            return None
        try:
            progress = await self._begin(request, model, has_next=has_next)
            result = await self._call(request, progress)
            if isinstance(result, Answered):
                permit.settle(None)
            elif not self._policy.cut_short(result, progress.call.timeouts, begun=progress.begun):
                permit.settle(result)
            return result
        finally:
            permit.release()

    async def _permit(self, request: R, circuit: str) -> CallPermit | None:
        permit = await self.breakers.permit(circuit)
        if permit is not None or not self._kind.waits_for_circuit:
            return permit
        wait_s = min(self._policy.breaker_reset_s + _PERMIT_STEP_S, request.usable_s(self._clock.now()))
        try:
            async with self._watch.over(request.lease) as watched:
                while permit is None and wait_s > _PERMIT_STEP_S:
                    await self._clock.sleep(_PERMIT_STEP_S)
                    wait_s -= _PERMIT_STEP_S
                    permit = await self.breakers.permit(circuit)
        except BaseException:
            if permit is not None:
                permit.release()
            raise
        if permit is None and watched.cancelled is not None:
            raise Cancelled(request.lease, watched.cancelled)
        return permit

    async def _begin(self, request: R, model: Model, *, has_next: bool) -> CallProgress[C, A]:
        begun = BegunCall(
            call_id=self._ports.new_call_id(),
            provider=model.provider,
            model=model.name,
            started_at=self._clock.now(),
            input_tokens=request.input_tokens,
            service_tier=request.service_tier,
            input_charge=charge(model, lost_usage(request.input_tokens, request.service_tier)),
        )
        prices = self._ports.models.current
        number = await self._journal.begin(request, begun)
        now = self._clock.now()  # not the time above: it may have waited for the journal
        timeouts = self._policy.timeouts(
            remaining_s=request.remaining_s(now),
            reserve_s=request.reserve_s,
            stream=request.stream,
            has_next=has_next,
        )
        call = self._kind.new_call(request, model, call_id=begun.call_id, timeouts=timeouts)
        begun = msgspec.structs.replace(begun, started_at=now)
        started = self._clock.monotonic()
        progress = CallProgress[C, A](call, model, begun, prices=prices, number=number, started=started)
        request.progress = progress
        return progress

    async def _call(self, request: R, progress: CallProgress[C, A]) -> Answered[A] | ProviderFault:
        """Send the call, and book what came of it. An answer that is there before a cancellation counts."""
        fault: ProviderFault | None = None
        try:
            async with self._watch.over(request.lease) as watched:
                await self._kind.send(request, progress)
        except ProviderFault as error:
            fault = error
        now = self._clock.monotonic()
        if progress.answer is not None:
            request.book(progress.answered(progress.answer, now))
            return Answered(answer=progress.answer, model=progress.model, attempt=progress.number)
        if watched.cancelled is not None:
            booked = progress.failed(fault, now) if fault else progress.cut_off(CANCELLED, now)
            await self._book(request, booked)
            raise Cancelled(request.lease, watched.cancelled)
        fault = fault or ConnectionLost("the provider ended the stream without an answer")
        request.faults.append(fault)
        await self._book(request, progress.failed(fault, now))
        return fault

    async def _book(self, request: R, booked: LlmCall) -> None:
        request.book(booked)
        await self._journal.end(request, booked)

    def _decide(
        self, request: R, fault: ProviderFault, model: Model, *, try_number: int, has_next: bool
    ) -> CallRetryDecision:
        decision = decide_call_retry(
            fault,
            try_number=try_number,
            tries=self._policy.provider_tries,
            remaining_s=request.usable_s(self._clock.now()),
            has_next=has_next,
            jitter=self._ports.jitter(),
        )
        # Wrong keys and spent quotas do not pass by themselves.
        needs_operator = isinstance(fault, AuthenticationFault | QuotaExhausted)
        self._log(
            "call_failed",
            request.lease.request_id,
            level=logging.ERROR if needs_operator else logging.WARNING,
            call_id=request.calls[-1].call_id,
            model=_circuit(model),
            fault=fault.error,
            message=fault.message,
            try_number=try_number,
            next=decision.action.value,
            wait_s=round(decision.wait_s, 3),
        )
        return decision


def _circuit(model: Model) -> str:
    """Return the name of a model's circuit breaker, e.g. ``openai/gpt-4o``."""
    return f"{model.provider}/{model.name}"

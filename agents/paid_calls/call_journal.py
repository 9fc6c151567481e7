"""What the journal is told of work that is paid for: the same for every stage that spends.

No call is in no book. It is noted before it is made; its end is noted where it brings no result; the result
is stored before it is sent; and once something was spent, Redis is waited for rather than the work lost.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import structlog

from agents.paid_calls.paid_work import PaidWork
from agents.paid_calls.ports import CallJournal, Clock
from agents.paid_calls.pricing import orphaned
from agents.paid_calls.redis_waits import patiently
from agents.paid_calls.retry import RetryDecision, decide
from agents.providers.faults import AuthenticationFault, ProviderFault, QuotaExhausted
from agents.providers.port import AnyCall
from agents.stores.journal import (
    AlreadySent,
    BegunCall,
    Claimed,
    Fenced,
    Finished,
    HeldElsewhere,
    Hold,
    NotedCalls,
)
from streams.errors import StoreUnavailable
from streams.events import Envelope, LlmCall

#: What `LlmCall.error` says of a call within which the stage itself failed.
INTERNAL_ERROR = "internal_error"

C = TypeVar("C", bound=AnyCall)

log = structlog.get_logger(__name__)


class Books:
    """What the journal is told of a stage's work.

    Args:
        journal: where requests are claimed and calls noted.
        clock: the time.
        stage: its name, for the log.
    """

    def __init__(self, journal: CallJournal, clock: Clock, *, stage: str) -> None:
        self._journal = journal
        self._clock = clock
        self._stage = stage

    async def claim(self, envelope: Envelope, *, record: str, instance: str) -> Claimed | Finished | None:
        """Claim a request, or return the result that is to be sent for it; None: there is nothing to do.

        Args:
            envelope: the request's.
            record: the record that holds it, as ``topic:partition:offset``.
            instance: who claims, for operators to read.

        Raises:
            StoreUnavailable: the journal does not answer, so no call may be made.
        """
        claim = await self._journal.claim(
            envelope.request_id,
            record=record,
            instance=instance,
            deadline_at=envelope.deadline_at,
            now=self._clock.now(),
            replay=envelope.replay,
        )
        if isinstance(claim, HeldElsewhere | AlreadySent):
            why = type(claim).__name__
            log.info(self._event("repeat_dropped"), request_id=envelope.request_id, why=why)
            return None
        return claim

    def former_calls(self, claimed: Claimed) -> list[LlmCall]:
        """Return the calls of former attempts; those whose end nobody noted are orphaned."""
        if claimed.lost_calls:
            log.warning(
                self._event("calls_orphaned"),
                request_id=claimed.hold.request_id,
                calls=len(claimed.lost_calls),
            )
        return _all(claimed)

    async def begin(self, work: PaidWork[C], begun: BegunCall) -> int:
        """Note a call that is about to be made; return its number."""

        def step() -> Awaitable[int]:
            return self._journal.begin_call(work.hold, begun, after=work.last_number)

        if not work.calls:
            return await step()
        return await patiently(
            step,
            remaining_s=lambda: work.usable_s(self._clock.now()),
            clock=self._clock,
            event=self._event("journal_away"),
            request_id=work.hold.request_id,
        )

    async def end(self, work: PaidWork[C], booked: LlmCall) -> None:
        """Note how a call ended that did not bring the result."""
        try:
            await self._journal.end_call(work.hold, booked)
        except StoreUnavailable as fault:  # should this worker die now, the call will count as lost
            log.warning(self._event("end_not_noted"), request_id=work.hold.request_id, reason=str(fault))

    def after_fault(
        self,
        work: PaidWork[C],
        fault: ProviderFault,
        *,
        model: str,
        try_number: int,
        tries: int,
        has_next: bool,
        jitter: float,
    ) -> RetryDecision:
        """Decide what comes after a call that failed and is booked, and note both in the log.

        Args:
            work: the work; its last call is the one that failed.
            fault: what went wrong.
            model: the model that was asked.
            try_number: which try of this model that was, counting from 1.
            tries: how many tries a model has.
            has_next: whether another model could be asked.
            jitter: a random number from 0 to 1.
        """
        decision = decide(
            fault,
            try_number=try_number,
            tries=tries,
            remaining_s=work.usable_s(self._clock.now()),
            has_next=has_next,
            jitter=jitter,
        )
        # What does not pass by itself: an operator has to see to it.
        report = log.error if isinstance(fault, AuthenticationFault | QuotaExhausted) else log.warning
        report(
            self._event("call_failed"),
            request_id=work.hold.request_id,
            call_id=work.calls[-1].call_id,
            model=model,
            fault=fault.error,
            message=fault.message,
            try_number=try_number,
            next=decision.action.value,
            wait_s=round(decision.wait_s, 3),
        )
        return decision

    async def store(self, work: PaidWork[C], result: bytes) -> None:
        """Store the result; it was paid for, so Redis is given until the deadline to come back.

        If it does not, the result is sent all the same: an answer that is sent twice is recognised further
        down, whereas the spend of one that is thrown away would be in no book.

        Raises:
            Fenced: another attempt took over.
        """
        try:
            stored = await patiently(
                lambda: self._journal.finish(work.hold, result),
                remaining_s=lambda: work.remaining_s(self._clock.now()),
                clock=self._clock,
                event=self._event("journal_away"),
                request_id=work.hold.request_id,
            )
        except StoreUnavailable as fault:
            log.error(self._event("result_not_stored"), request_id=work.hold.request_id, reason=str(fault))  # noqa: TRY400  # the stack says nothing more
            return
        if not stored:
            raise Fenced(work.hold)

    async def sent(self, hold: Hold) -> None:
        """Note that the broker has the result. Where Redis is away, a repeat would be sent again: no harm."""
        try:
            await self._journal.sent(hold)
        except StoreUnavailable as fault:
            log.warning(self._event("journal_not_closed"), request_id=hold.request_id, reason=str(fault))

    async def salvaged(
        self, request_id: str, *, record: str, work: PaidWork[Any] | None, fault: BaseException
    ) -> Sequence[LlmCall]:
        """Return what was spent on a request that a bug has ended: it was paid for, whoever is at fault.

        The ends of the calls are noted in the journal. What this worker knows of its own calls counts; the
        journal knows those of former workers. Without the journal only the former are found.

        Args:
            request_id: the request.
            record: the record that holds it.
            work: the work so far, if it had begun.
            fault: why it came to nothing.

        Returns:
            The calls, by their numbers.
        """
        calls = {call.attempt: call for call in work.calls} if work else {}
        if work is not None and work.reading is not None:
            calls[work.reading.number] = work.reading.cut_off(INTERNAL_ERROR, self._clock.monotonic())
        try:
            noted = await self._journal.calls(request_id, record=record)
            if work is not None:
                for call in calls.values():
                    await self._journal.end_call(work.hold, call)
        except StoreUnavailable as away:
            log.warning(self._event("calls_not_looked_up"), request_id=request_id, reason=str(away))
            noted = NotedCalls()
        calls = {call.attempt: call for call in _all(noted)} | calls
        if calls:
            log.warning(
                self._event("calls_salvaged"),
                request_id=request_id,
                calls=len(calls),
                fault=type(fault).__name__,
            )
        return [calls[number] for number in sorted(calls)]

    def _event(self, what: str) -> str:
        """Return an event's name in the log."""
        return f"{self._stage}.{what}"


def _all(noted: Claimed | NotedCalls) -> list[LlmCall]:
    return [*noted.known_calls, *(orphaned(lost) for lost in noted.lost_calls)]

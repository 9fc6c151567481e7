"""The journal as a stage uses it: the stage notes its provider calls in Redis, and waits while Redis is away.

Every provider call is journaled before it is sent. The end of a failed call is noted too. A result is stored
before it is sent to the next stage. After the first call the stage waits for Redis until the request's
deadline, because it must not lose what was paid for. The waiting request still counts as in flight. This
costs no throughput: without Redis, the stage cannot claim other requests either.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from agents.paid_calls.paid_request import PaidRequest
from agents.paid_calls.ports import CallPorts
from agents.paid_calls.pricing import orphaned_call
from agents.stores.journal_entries import (
    AlreadySent,
    BegunCall,
    Claimed,
    Fenced,
    HeldElsewhere,
    JournaledCalls,
    Lease,
    ResultStored,
)
from streams.backoff import Backoff, retry
from streams.errors import StoreUnavailable
from streams.events import Envelope, LlmCall

#: `LlmCall.error` of a call within which the stage itself failed.
INTERNAL_ERROR = "internal_error"
#: Between two tries while Redis is away, in seconds.
RETRY_S = 0.5
_BACKOFF = Backoff(first_s=RETRY_S, max_s=RETRY_S, jitter=0)

T = TypeVar("T")

log = structlog.get_logger(__name__)


class CallJournal:
    """Notes the calls of one stage in the journal."""

    def __init__(self, ports: CallPorts, *, stage: str) -> None:
        self._journal = ports.journal
        self._clock = ports.clock
        self._stage = stage

    async def claim(self, envelope: Envelope, *, record: str, instance: str) -> Claimed | ResultStored | None:
        """Claim a request, or return the result that is to be sent for it; None: there is nothing to do.

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
        """Return the calls of former attempts. Those without a noted end are booked as orphaned."""
        if claimed.lost_calls:
            log.warning(
                self._event("calls_orphaned"),
                request_id=claimed.lease.request_id,
                calls=len(claimed.lost_calls),
            )
        return _booked(claimed)

    async def begin(self, request: PaidRequest, begun: BegunCall) -> int:
        """Note a call that is about to be made; return its number."""

        def step() -> Awaitable[int]:
            return self._journal.begin_call(request.lease, begun, after=request.last_number)

        if not request.calls:
            return await step()
        return await self._until(step, request, lambda: request.usable_s(self._clock.now()))

    async def end(self, request: PaidRequest, booked: LlmCall) -> None:
        """Note how a call ended that did not bring the result."""
        try:
            await self._journal.end_call(request.lease, booked)
        except StoreUnavailable as fault:  # should this worker die now, the call will count as lost
            log.warning(self._event("end_not_noted"), request_id=request.lease.request_id, reason=str(fault))

    async def store(self, request: PaidRequest, result: bytes) -> None:
        """Store the result, which was paid for: Redis has until the deadline to come back.

        If it does not, the result is sent all the same. The next stages recognise an answer that is sent
        twice, whereas the spend of an answer that is thrown away would never be booked.

        Raises:
            Fenced: another attempt took over.
        """
        lease = request.lease
        try:
            stored = await self._until(
                lambda: self._journal.finish(lease, result),
                request,
                lambda: request.remaining_s(self._clock.now()),
            )
        except StoreUnavailable as fault:
            log.error(self._event("result_not_stored"), request_id=lease.request_id, reason=str(fault))  # noqa: TRY400  # the stack says nothing more
            return
        if not stored:
            raise Fenced(lease)

    async def sent(self, lease: Lease) -> None:
        """Note that the broker has the result. Where Redis is away, a repeat is sent again: no harm."""
        try:
            await self._journal.sent(lease)
        except StoreUnavailable as fault:
            log.warning(self._event("journal_not_closed"), request_id=lease.request_id, reason=str(fault))

    async def salvaged(
        self, request_id: str, *, record: str, request: PaidRequest | None, fault: BaseException
    ) -> Sequence[LlmCall]:
        """Return every call for a request that a bug has ended, by number: the spend must still be booked.

        The ends of the calls are noted in the journal. This worker knows its own calls; the journal knows
        those of former workers. Without the journal only the former are found.

        Args:
            request_id: the request.
            record: the record that holds it.
            request: the work so far, if it had begun.
            fault: why it came to nothing.
        """
        own = {call.attempt: call for call in request.calls} if request else {}
        if request is not None and request.progress is not None:
            cut_off = request.progress.cut_off(INTERNAL_ERROR, self._clock.monotonic())
            own[request.progress.number] = cut_off
        try:
            noted = await self._journal.calls(request_id, record=record)
            if request is not None:
                for call in own.values():
                    await self._journal.end_call(request.lease, call)
        except StoreUnavailable as away:
            log.warning(self._event("calls_not_looked_up"), request_id=request_id, reason=str(away))
            noted = JournaledCalls()
        calls = {call.attempt: call for call in _booked(noted)} | own
        if calls:
            log.warning(
                self._event("calls_salvaged"),
                request_id=request_id,
                calls=len(calls),
                fault=type(fault).__name__,
            )
        return [calls[number] for number in sorted(calls)]

    async def _until(
        self, step: Callable[[], Awaitable[T]], request: PaidRequest, remaining_s: Callable[[], float]
    ) -> T:
        """Return what `step` returns, trying again while Redis is away and time is left."""

        def note(_failures: int, fault: StoreUnavailable) -> None:
            log.warning(self._event("journal_away"), request_id=request.lease.request_id, reason=str(fault))

        return await retry(
            step,
            on=StoreUnavailable,
            backoff=_BACKOFF,
            remaining_s=remaining_s,
            on_failure=note,
            sleep=self._clock.sleep,
        )

    def _event(self, what: str) -> str:
        """Return an event's name in the log."""
        return f"{self._stage}.{what}"


def _booked(noted: JournaledCalls) -> list[LlmCall]:
    return [*noted.known_calls, *(orphaned_call(lost) for lost in noted.lost_calls)]

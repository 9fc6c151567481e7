"""The steps of a paid request, from its claim in the journal to the acknowledged result.

LlmStage.handle → PaidWork.run           claims the request, makes the calls, stores the result
(broker)        → PaidWork.delivered     notes that the broker has the result
(a bug)         → PaidWork.recover_calls finds what was spent, so that it is booked

Every provider call is journaled before it is sent. The end of a failed call is noted too. A result is stored
before it is sent to the next stage. After the first call the stage waits for Redis until the request's
deadline, because it must not lose what was paid for. The waiting request still counts as in flight. This
costs no throughput: without Redis, the stage cannot claim other requests either.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from agents.paid_calls.call_booking import orphaned_call
from agents.paid_calls.paid_request import CallPorts, PaidRequest, StageLog, with_calls
from agents.stage import Delivery, Superseded
from agents.stores.journal_entries import (
    BegunCall,
    Claim,
    Claimed,
    Fenced,
    JournaledCalls,
    Lease,
    ResultStored,
)
from streams.backoff import Backoff, retry
from streams.errors import StoreUnavailable
from streams.events import Completed, Envelope, LlmCall, OutcomeReached

#: Between two tries while Redis is away, in seconds.
RETRY_S = 0.5
_BACKOFF = Backoff(first_s=RETRY_S, max_s=RETRY_S, jitter=0)

T = TypeVar("T")
#: `LlmCall.error` of a call within which the stage itself failed.
INTERNAL_ERROR = "internal_error"
_MAX_OPEN = 10_000
R = TypeVar("R", bound=PaidRequest)
O = TypeVar("O", bound=Completed | OutcomeReached)  # noqa: E741


class CallJournal:
    """Notes calls and results."""

    def __init__(self, ports: CallPorts, log: StageLog) -> None:
        self._journal = ports.journal
        self._clock = ports.clock
        self._log = log

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
            self._log("end_not_noted", request.lease.request_id, reason=str(fault))

    async def store(self, request: PaidRequest, result: bytes) -> None:
        """Store the result, which was paid for: Redis has until the deadline to come back.

        If it does not, the result is sent all the same. The next stages recognise an answer that is sent
        twice, whereas the spend of an answer that is thrown away would never be booked.
        Raises `Fenced` where another attempt took over.
        """
        lease = request.lease
        try:
            stored = await self._until(
                lambda: self._journal.finish(lease, result),
                request,
                lambda: request.remaining_s(self._clock.now()),
            )
        except StoreUnavailable as fault:
            self._log("result_not_stored", lease.request_id, level=logging.ERROR, reason=str(fault))
            return
        if not stored:
            raise Fenced(lease)

    async def _until(
        self, step: Callable[[], Awaitable[T]], request: PaidRequest, remaining_s: Callable[[], float]
    ) -> T:
        """Return what `step` returns, trying again while Redis is away and time is left."""

        def note(_failures: int, fault: StoreUnavailable) -> None:
            self._log("journal_away", request.lease.request_id, reason=str(fault))

        return await retry(
            step,
            on=StoreUnavailable,
            backoff=_BACKOFF,
            remaining_s=remaining_s,
            on_failure=note,
            sleep=self._clock.sleep,
        )


class _OpenDelivery:
    """A delivery between `handle` and `delivered` (or `recover_calls`), and how far its work is."""

    def __init__(self, delivery: Delivery[Any], envelope: Envelope) -> None:
        self.delivery = delivery  # held, so that its `id` is nobody else's
        self.envelope = envelope
        self.request: PaidRequest | None = None
        self.unsent: Lease | None = None


class PaidWork(Generic[R, O]):
    """The work of one stage, delivery by delivery.

    Deliveries are known by identity: a zombie's delivery of the same record is another one, and must not
    close this one's entry.

    The journal stores a result as the bytes of `pack`; `unpack` is the reverse.
    """

    def __init__(
        self,
        ports: CallPorts,
        *,
        log: StageLog,
        instance: str,
        pack: Callable[[O], bytes],
        unpack: Callable[[bytes], O],
    ) -> None:
        self._journal = ports.journal
        self._clock = ports.clock
        self._log = log
        self._instance = instance
        self._pack = pack
        self._unpack = unpack
        self._open: OrderedDict[int, _OpenDelivery] = OrderedDict()
        self.call_journal = CallJournal(ports, log)

    def open(self, delivery: Delivery[Any], envelope: Envelope) -> None:
        """Remember a delivery's envelope, should its calls have to be recovered."""
        self._open[id(delivery)] = _OpenDelivery(delivery, envelope)
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)

    async def run(
        self,
        delivery: Delivery[Any],
        *,
        request: Callable[[Lease, list[LlmCall]], R],
        outcome: Callable[[R], Awaitable[O]],
    ) -> O | None:
        """Return the result that is to be sent; None for a repeat that another delivery answers.

        `request` makes the request of the lease and the calls of former attempts; `outcome` makes the calls.

        Raises:
            StoreUnavailable: the journal does not answer, so no call may be made.
            Superseded: another attempt took over.
        """
        entry = self._open[id(delivery)]
        try:
            match await self._claim(entry):
                case ResultStored(lease=lease, result=stored):
                    result = _of_this_run(self._unpack(stored), entry.envelope.replay)
                case Claimed(lease=lease) as claimed:
                    entry.request = working = request(lease, self._former_calls(claimed))
                    result = await outcome(working)
                    await self.call_journal.store(working, self._pack(result))
                case repeat:
                    why = type(repeat).__name__
                    self._log("repeat_dropped", entry.envelope.request_id, level=logging.INFO, why=why)
                    self._open.pop(id(delivery), None)
                    return None
        except Fenced as fenced:
            self._log("fenced", entry.envelope.request_id, reason=str(fenced))
            self._open.pop(id(delivery), None)
            raise Superseded from fenced
        except (StoreUnavailable, asyncio.CancelledError):  # every call is in the journal: see `CallLoop.run`
            self._open.pop(id(delivery), None)
            raise
        entry.unsent = lease
        return result

    async def _claim(self, entry: _OpenDelivery) -> Claim:
        envelope = entry.envelope
        return await self._journal.claim(
            envelope.request_id,
            record=entry.delivery.record.address,
            instance=self._instance,
            deadline_at=envelope.deadline_at,
            now=self._clock.now(),
            replay=envelope.replay,
        )

    def _former_calls(self, claimed: Claimed) -> list[LlmCall]:
        if claimed.lost_calls:
            self._log("calls_orphaned", claimed.lease.request_id, calls=len(claimed.lost_calls))
        return _booked(claimed)

    async def delivered(self, delivery: Delivery[Any]) -> None:
        """Note that the broker has the result. Where Redis is away, a repeat is sent again: no harm."""
        entry = self._open.pop(id(delivery), None)
        if entry is None or entry.unsent is None:
            return
        try:
            await self._journal.sent(entry.unsent)
        except StoreUnavailable as fault:
            self._log("journal_not_closed", entry.envelope.request_id, reason=str(fault))

    def envelope_of(self, delivery: Delivery[Any]) -> Envelope | None:
        """Return the envelope of an open delivery, as far as its work has brought it."""
        entry = self._open.get(id(delivery))
        if entry is None:
            return None
        return entry.envelope if entry.request is None else entry.request.envelope

    async def recover_calls(
        self, delivery: Delivery[Any], envelope: Envelope, fault: BaseException
    ) -> Envelope:
        """Return the envelope with every call that was made for a delivery which came to nothing.

        It is asked for before the sender is told of the failure, so that the spend is booked with it.
        Afterwards the journal knows the calls as they were booked, so that a replay books the same. This
        worker knows its own calls; the journal knows those of former workers, while Redis answers.
        """
        entry = self._open.pop(id(delivery), None)
        request = entry.request if entry else None
        own = self._own_calls(request) if request else {}
        try:
            noted = await self._journal.calls(envelope.request_id, record=delivery.record.address)
            if request is not None:
                for call in own.values():
                    await self._journal.end_call(request.lease, call)
        except StoreUnavailable as away:
            self._log("calls_not_looked_up", envelope.request_id, reason=str(away))
            noted = JournaledCalls()
        calls = {call.attempt: call for call in _booked(noted)} | own
        if calls:
            self._log("calls_recovered", envelope.request_id, calls=len(calls), fault=type(fault).__name__)
        return with_calls(envelope, [calls[number] for number in sorted(calls)])

    def _own_calls(self, request: PaidRequest) -> dict[int, LlmCall]:
        calls = {call.attempt: call for call in request.calls}
        if request.progress is not None:
            cut_off = request.progress.cut_off(INTERNAL_ERROR, self._clock.monotonic())
            calls[request.progress.number] = cut_off
        return calls


def _booked(noted: JournaledCalls) -> list[LlmCall]:
    """Return the calls of former attempts. Those without a noted end are booked as orphaned."""
    return [*noted.known_calls, *(orphaned_call(lost) for lost in noted.lost_calls)]


def _of_this_run(outcome: O, replay: int) -> O:
    """Return a result that a former run has stored as this run's: it is settled under its number."""
    return msgspec.structs.replace(outcome, envelope=msgspec.structs.replace(outcome.envelope, replay=replay))

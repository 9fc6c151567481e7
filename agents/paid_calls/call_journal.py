"""Notes the provider calls of one stage in the journal, and waits while Redis is away.

Every provider call is journaled before it is sent. The end of a failed call is noted too. A result is stored
before it is sent to the next stage. After the first call the stage waits for Redis until the request's
deadline, because it must not lose what was paid for. The waiting request still counts as in flight. This
costs no throughput: without Redis, the stage cannot claim other requests either.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agents.paid_calls.paid_request import PaidRequest
from agents.paid_calls.ports import CallPorts, StageLog
from agents.stores.journal_entries import BegunCall, Fenced
from streams.backoff import Backoff, retry
from streams.errors import StoreUnavailable
from streams.events import LlmCall

#: Between two tries while Redis is away, in seconds.
RETRY_S = 0.5
_BACKOFF = Backoff(first_s=RETRY_S, max_s=RETRY_S, jitter=0)

T = TypeVar("T")


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

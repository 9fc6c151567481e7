"""Work that is paid for, and what the journal is told of it: the same for every stage that spends.

No call is in no book. It is noted before it is made; its end is noted where it brings no result; the result
is stored before it is sent; and once something was spent, Redis is waited for rather than the work lost.
"""

from collections.abc import Awaitable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec
import structlog

from agents.llm.booking import orphaned
from agents.llm.patience import patiently
from agents.llm.ports import CallJournal, Clock
from agents.llm.reading import Reading
from agents.providers.port import AnyCall
from agents.stores.journal import BegunCall, Cancelled, Claimed, Fenced, Hold
from streams.errors import StoreUnavailable
from streams.events import LlmCall

C = TypeVar("C", bound=AnyCall)
E = TypeVar("E")

log = structlog.get_logger(__name__)


class OutOfTime(msgspec.Struct, frozen=True):
    """The deadline passed."""


class Abandoned(msgspec.Struct, frozen=True):
    """The request was cancelled before a model had answered. `reason`: what cancelled it."""

    reason: str


class PaidWork(Generic[C]):
    """One request while it is worked on.

    Args:
        hold: its claim in the journal.
        deadline_at: its deadline.
        calls: the calls of former attempts.
    """

    def __init__(self, hold: Hold, *, deadline_at: datetime, calls: Iterable[LlmCall] = ()) -> None:
        self.hold = hold
        self.calls = list(calls)
        #: The end of the time left that is kept for the reply, in seconds.
        self.reserve_s = 0.0
        #: The call that is being made: it was begun, and is in no book yet.
        self.reading: Reading[C] | None = None
        self._deadline_at = deadline_at

    def book(self, call: LlmCall) -> None:
        """Note how the call ended that was being made."""
        self.calls.append(call)
        self.reading = None

    @property
    def last_number(self) -> int:
        """The highest number among the calls so far."""
        return max((call.attempt for call in self.calls), default=0)

    def remaining_s(self, now: datetime) -> float:
        """The time until the deadline, in seconds."""
        return (self._deadline_at - now).total_seconds()

    def usable_s(self, now: datetime) -> float:
        """The time that models may still take, in seconds."""
        return self.remaining_s(now) - self.reserve_s


async def ended(work: PaidWork[C], running: Awaitable[E]) -> E | OutOfTime | Abandoned:
    """Return how the work ends; every call made is in `work.calls` then.

    Args:
        work: the work.
        running: makes the calls.

    Raises:
        Fenced: another attempt took over.
        StoreUnavailable: the journal does not answer, so no call may be made, and none was: the whole
            may be tried again. Later, when there is spend to book, the journal is waited for.
    """
    try:
        return await running
    except StoreUnavailable:
        if not work.calls:
            raise
        return OutOfTime()
    except Cancelled as cancelled:
        return Abandoned(cancelled.reason)


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

    def former_calls(self, claimed: Claimed) -> list[LlmCall]:
        """Return the calls of former attempts; those whose end nobody noted are orphaned."""
        if claimed.lost_calls:
            log.warning(
                self._event("calls_orphaned"),
                request_id=claimed.hold.request_id,
                calls=len(claimed.lost_calls),
            )
        return [*claimed.known_calls, *(orphaned(lost) for lost in claimed.lost_calls)]

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
            request_id=work.hold.request_id,
        )

    async def end(self, work: PaidWork[C], booked: LlmCall) -> None:
        """Note how a call ended that did not bring the result."""
        try:
            await self._journal.end_call(work.hold, booked)
        except StoreUnavailable as fault:  # should this worker die now, the call will count as lost
            log.warning(self._event("end_not_noted"), request_id=work.hold.request_id, reason=str(fault))

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

    def _event(self, what: str) -> str:
        """Return an event's name in the log."""
        return f"{self._stage}.{what}"

"""Work that is paid for, and how it ends: the same for every stage that spends."""

from collections.abc import Awaitable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from agents.paid_calls.call_progress import Reading
from agents.providers.port import AnyCall
from agents.stores.journal import Cancelled, Hold
from streams.errors import StoreUnavailable
from streams.events import LlmCall

C = TypeVar("C", bound=AnyCall)
E = TypeVar("E")


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

"""A request for which providers are called (`PaidRequest`), and the two kinds of calls (`CallKind`)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from agents.paid_calls.call_progress import A, C, CallProgress
from agents.paid_calls.route import Route
from agents.providers.faults import ProviderFault
from agents.providers.provider import Timeouts
from agents.stores.journal_entries import Lease
from streams.events import Envelope, LlmCall
from streams.models import STANDARD_TIER


class PaidRequest:
    """One request while providers are called for it.

    Args:
        envelope: the request's.
        lease: the right to work on it.
        input_tokens: our own count of what a model is sent.
        calls: the calls of former attempts.
        stream: whether the answer is wanted in pieces.
        service_tier: the service tier asked for.

    Attributes:
        calls: every call that has ended, in order.
        faults: what went wrong with those of this attempt.
        progress: the call that is on its way: journaled, and not booked yet.
        reserve_s: the end of the time left that is kept for the reply, in seconds.
    """

    def __init__(
        self,
        envelope: Envelope,
        lease: Lease,
        *,
        input_tokens: int,
        calls: Iterable[LlmCall] = (),
        stream: bool = False,
        service_tier: str = STANDARD_TIER,
    ) -> None:
        self.envelope = envelope
        self.lease = lease
        self.input_tokens = input_tokens
        self.stream = stream
        self.service_tier = service_tier
        self.calls = list(calls)
        self.faults: list[ProviderFault] = []
        self.progress: CallProgress[Any, Any] | None = None
        self.reserve_s = 0.0

    def book(self, call: LlmCall) -> None:
        """Note how the call ended that was on its way."""
        self.calls.append(call)
        self.progress = None

    @property
    def last_number(self) -> int:
        """The highest number among the calls so far."""
        return max((call.attempt for call in self.calls), default=0)

    @property
    def envelope_with_calls(self) -> Envelope:
        """The envelope with every call so far, for the outcome."""
        return with_calls(self.envelope, self.calls)

    def remaining_s(self, now: datetime) -> float:
        """The time until the deadline, in seconds."""
        return (self.envelope.deadline_at - now).total_seconds()

    def usable_s(self, now: datetime) -> float:
        """The time that providers may still take, in seconds."""
        return self.remaining_s(now) - self.reserve_s


def with_calls(envelope: Envelope, calls: Iterable[LlmCall]) -> Envelope:
    """Return the envelope with these calls added."""
    return msgspec.structs.replace(envelope, calls=(*envelope.calls, *calls))


R_contra = TypeVar("R_contra", bound=PaidRequest, contravariant=True)


class CallKind(Protocol[R_contra, C, A]):
    """One kind of provider call: how it is made of a request, and how it is sent."""

    #: Whether an open circuit is waited for: where no other model can stand in, a few quick faults of some
    #: requests should not fail all others that have time.
    waits_for_circuit: bool

    def new_call(self, request: R_contra, route: Route, *, call_id: str, timeouts: Timeouts) -> C:
        """Return the call to send to a model."""
        ...

    async def send(self, request: R_contra, progress: CallProgress[C, A]) -> None:
        """Send the call, and let `progress` take what comes.

        Raises:
            ProviderFault: there is no answer, or not all of it.
        """
        ...

"""A request for which providers are called: its ports to the outside, its calls, and how it may end."""

import asyncio
import hashlib
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from agents.paid_calls.call_booking import A, C, CallProgress
from agents.providers.faults import ProviderFault, Refused
from agents.providers.provider import Timeouts
from agents.stores.journal import Journal
from agents.stores.journal_entries import Lease
from streams.control.catalogue import LiveCatalogue
from streams.events import Completion, Envelope, ErrorInfo, LlmCall, OutcomeReached, Status
from streams.model_catalogue import STANDARD_TIER, Model
from streams.registry.entries import cancelled_error

_PSEUDONYM_CHARS = 32

log = structlog.get_logger(__name__)


class StageLog:
    """Logs what befalls requests, under the stage's name: `StageLog("llm")("call_failed", …)`."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __call__(self, what: str, request_id: str, *, level: int = logging.WARNING, **more: object) -> None:
        """Log an event, as a warning where no other level is given."""
        event = f"{self._stage}.{what}"
        log.log(level, event, request_id=request_id, **more)


class Clock:
    """The machine's clock. Tests replace it by one that does not wait."""

    def now(self) -> datetime:
        """Return the time, UTC-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class CallPorts:
    """The ports of one stage's paid calls."""

    journal: Journal
    models: LiveCatalogue = field(default_factory=LiveCatalogue)
    clock: Clock = field(default_factory=Clock)
    new_call_id: Callable[[], str] = lambda: str(uuid.uuid4())
    jitter: Callable[[], float] = random.random  # from 0 to 1
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep  # between two polls for cancelled requests


class PaidRequest:
    """One request while providers are called for it."""

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
        self.lease = lease  # the right to work on it
        self.input_tokens = input_tokens  # our own count of what a model is sent
        self.stream = stream  # whether the answer is wanted in pieces
        self.service_tier = service_tier  # the one asked for
        self.calls = list(calls)  # all that have ended, in order, those of former attempts included
        self.faults: list[ProviderFault] = []  # of the calls of this attempt
        self.progress: CallProgress[Any, Any] | None = None  # the call that is journaled and not booked yet
        self.reserve_s = 0.0  # the end of the time left that is kept for the reply

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

    def outcome(
        self, status: Status, *, completion: Completion | None = None, error: ErrorInfo | None = None
    ) -> OutcomeReached:
        """Return the request's outcome, with every call so far."""
        envelope = self.envelope_with_calls
        return OutcomeReached(envelope=envelope, status=status, completion=completion, error=error)

    def unanswered(self, ending: "RequestRefused | RequestCancelled | OutOfTime") -> OutcomeReached:
        """Return the outcome of a request that a model has not answered."""
        match ending:
            case RequestRefused(fault):
                error = ErrorInfo(
                    type="invalid_request_error", code=fault.code, message=fault.message, param=fault.param
                )
            case RequestCancelled(reason):
                return self.outcome(Status.CANCELLED, error=cancelled_error(reason))
            case OutOfTime():
                when = "before a model answered" if self.calls else "before a model could be asked"
                error = ErrorInfo(
                    type="timeout_error",
                    code="deadline_exceeded",
                    message=f"the request's deadline passed {when}; send it again with a longer deadline_ms",
                    param="deadline_ms",
                )
        return self.outcome(Status.FAILED, error=error)

    def remaining_s(self, now: datetime) -> float:
        """The time until the deadline, in seconds."""
        return (self.envelope.deadline_at - now).total_seconds()

    def usable_s(self, now: datetime) -> float:
        """The time that providers may still take, in seconds."""
        return self.remaining_s(now) - self.reserve_s


def with_calls(envelope: Envelope, calls: Iterable[LlmCall]) -> Envelope:
    """Return the envelope with these calls added."""
    return msgspec.structs.replace(envelope, calls=(*envelope.calls, *calls))


def pseudonym(envelope: Envelope, name: str) -> str:
    """Return the stable name that providers get for a user of the tenant. It does not tell who that is."""
    return hashlib.sha256(f"{envelope.tenant}\x00{name}".encode()).hexdigest()[:_PSEUDONYM_CHARS]


class Answered(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """`model` answered, in call number `attempt`."""

    answer: A
    model: Model
    attempt: int


class RequestRefused(msgspec.Struct, frozen=True):
    """The provider says that the request is wrong; another try would not help."""

    fault: Refused


class RequestCancelled(msgspec.Struct, frozen=True):
    """The request was cancelled before a model had answered. `reason`: what cancelled it."""

    reason: str


class OutOfTime(msgspec.Struct, frozen=True):
    """The deadline passed."""


class Exhausted(msgspec.Struct, frozen=True):
    """No model answered. `fault`: the last one; None where no call was made, e.g. behind an open circuit."""

    fault: ProviderFault | None = None


Ending = Answered[A] | RequestRefused | RequestCancelled | OutOfTime | Exhausted


R_contra = TypeVar("R_contra", bound=PaidRequest, contravariant=True)


class CallKind(Protocol[R_contra, C, A]):
    """One kind of provider call: how it is made of a request, and how it is sent."""

    #: Whether an open circuit is waited for: where no other model can stand in, a few quick faults of some
    #: requests should not fail all others that have time.
    waits_for_circuit: bool

    def new_call(self, request: R_contra, model: Model, *, call_id: str, timeouts: Timeouts) -> C:
        """Return the call to send to a model."""
        ...

    async def send(self, request: R_contra, progress: CallProgress[C, A]) -> None:
        """Send the call, and let `progress` take what comes."""
        ...

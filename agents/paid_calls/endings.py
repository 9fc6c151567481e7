"""How the calls for a request end, and the errors that its sender gets."""

from typing import Generic

import msgspec

from agents.paid_calls.call_progress import A
from agents.paid_calls.route import Route
from agents.providers.faults import ProviderFault, Refused
from streams.events import ErrorInfo, Status
from streams.registry.cancellation import cancelled_error


class Answered(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """The model of `route` answered, in call number `attempt`."""

    answer: A
    route: Route
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


def unanswered(
    ending: RequestRefused | RequestCancelled | OutOfTime, *, asked: bool
) -> tuple[Status, ErrorInfo]:
    """Return the status and the error of a request that a model has not answered."""
    match ending:
        case RequestRefused(fault):
            return Status.FAILED, ErrorInfo(
                type="invalid_request_error", code=fault.code, message=fault.message, param=fault.param
            )
        case RequestCancelled(reason):
            return Status.CANCELLED, cancelled_error(reason)
        case OutOfTime():
            when = "before a model answered" if asked else "before a model could be asked"
            return Status.FAILED, ErrorInfo(
                type="timeout_error",
                code="deadline_exceeded",
                message=f"the request's deadline passed {when}; send it again with a longer deadline_ms",
                param="deadline_ms",
            )

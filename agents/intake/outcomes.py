"""How a stage decides a request by itself: the record that sends it straight to the cost stage."""

from agents.checks import pii
from streams.errors import InputError
from streams.events import Completion, Envelope, ErrorInfo, OutcomeReached, Status
from streams.publisher import Emit
from streams.topics import OUTCOMES


def outcome_emits(
    envelope: Envelope,
    status: Status,
    *,
    completion: Completion | None = None,
    error: ErrorInfo | None = None,
) -> tuple[Emit]:
    """Return the one record that ends a request."""
    outcome = OutcomeReached(envelope=envelope, status=status, completion=completion, error=error)
    return (Emit.to(OUTCOMES, outcome, key=envelope.request_id),)


def input_error_info(fault: InputError) -> ErrorInfo:
    """Return the error for a mistake of the sender's, in full: it is the sender who can mend it.

    Personal data in what it quotes of the request is redacted: errors are logged.
    """
    return ErrorInfo(
        type="invalid_request_error",
        code=fault.code,
        message=pii.redact(fault.message).text,
        param=fault.param and pii.redact(fault.param).text,
    )

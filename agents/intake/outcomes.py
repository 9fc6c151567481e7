"""Builds the record on `llm.outcomes.v1` by which a stage ends a request: the cost stage reads it."""

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
    """Return the one record that ends a request with this status."""
    outcome = OutcomeReached(envelope=envelope, status=status, completion=completion, error=error)
    return (Emit.to(OUTCOMES, outcome, key=envelope.request_id),)


def input_error_info(fault: InputError) -> ErrorInfo:
    """Return the error that a sender gets for invalid input, with the whole message.

    The message may quote the request. Personal data in it is redacted, because errors are logged.
    """
    return ErrorInfo(
        type="invalid_request_error",
        code=fault.code,
        message=pii.redact(fault.message).text,
        param=fault.param and pii.redact(fault.param).text,
    )

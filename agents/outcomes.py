"""How a stage decides a request by itself: the record that sends it straight to the cost stage."""

from agents.guardrail.json_texts import Redact, Redacted
from streams.errors import InputError
from streams.events import Completion, Envelope, ErrorInfo, OutcomeReached, Status
from streams.publisher import Emit
from streams.topics import OUTCOMES


def _as_it_is(text: str) -> Redacted:
    return Redacted(text, ())


def decided(
    envelope: Envelope,
    status: Status,
    *,
    completion: Completion | None = None,
    error: ErrorInfo | None = None,
) -> tuple[Emit]:
    """Return the one record that ends a request."""
    outcome = OutcomeReached(envelope=envelope, status=status, completion=completion, error=error)
    return (Emit.to(OUTCOMES, outcome, key=envelope.request_id),)


def senders_mistake(fault: InputError, redact: Redact = _as_it_is) -> ErrorInfo:
    """Return the error for a mistake of the sender's, in full: it is the sender who can mend it.

    Args:
        fault: what is wrong.
        redact: replaces personal data in what the message quotes, where that was not looked through before.
    """
    param = fault.param and redact(fault.param).text
    return ErrorInfo(
        type="invalid_request_error", code=fault.code, message=redact(fault.message).text, param=param
    )

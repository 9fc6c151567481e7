"""How a reply of the pipeline reads over HTTP, as one table."""

import msgspec

from ingest.errors import DEADLINE_EXCEEDED, DEADLINE_PARAM, NO_RETRY, REPLAYED, ApiError
from streams.events import ErrorInfo, Reply, Status
from streams.registry.cancellation import cancelled_error

_STATUS_OF_CODE = {"model_not_found": 404, "idempotency_conflict": 409, "request_cancelled": 409}
_STATUS_OF_TYPE = {
    "timeout_error": 504,
    "unavailable_error": 503,
    "rate_limit_error": 429,
}
_RETRY_AFTER_S = {503: 2, 429: 10}
_NO_ERROR = ErrorInfo(type="api_error", code="internal_error", message="the request failed")


def is_blocked_input(reply: Reply) -> bool:
    """Whether the input guardrails stopped the request, so that there is no answer at all."""
    return reply.status is Status.BLOCKED and not reply.content


def is_blocked_output(reply: Reply) -> bool:
    """Whether the output check replaced the answer."""
    return reply.finish_reason == "content_filter" and bool(reply.content)


def error_of(reply: Reply) -> ErrorInfo | None:
    """Return the error that the reply stands for; None where it has an answer."""
    if is_blocked_input(reply):
        reason = reply.error.message if reply.error else "the request was blocked by a guardrail"
        param = reply.error.param if reply.error else None
        return ErrorInfo(type="invalid_request_error", code="content_filter", message=reason, param=param)
    if reply.status is Status.FAILED:
        return naming_the_charge(_naming_the_deadline(reply.error or _NO_ERROR), reply)
    if reply.status is Status.CANCELLED:
        return naming_the_charge(reply.error or cancelled_error(), reply)
    return None


def failure_of(reply: Reply) -> ErrorInfo | None:
    """Return the error of a reply that no model has answered: as `error_of`, and of the degraded answer, too.

    Who reads it later has no use for an apology: the line of a batch has failed.
    """
    if reply.status is not Status.DEGRADED:
        return error_of(reply)
    why = reply.error.message if reply.error else "no model answered"
    error = ErrorInfo(type="unavailable_error", code="all_models_failed", message=why)
    return naming_the_charge(error, reply)


def is_charged(reply: Reply) -> bool:
    """Whether a model was paid for the request: sent again under another id it would be paid again."""
    return reply.cost_usd > 0


def naming_the_charge(error: ErrorInfo, reply: Reply) -> ErrorInfo:
    """Return the error, with what the request has cost in its words, if anything."""
    if not is_charged(reply):
        return error
    message = f"{error.message}. A model was called, and charged: {reply.cost_usd.normalize():f} USD"
    return msgspec.structs.replace(error, message=message)


def _naming_the_deadline(error: ErrorInfo) -> ErrorInfo:
    """Return the error with the deadline as its param, whichever stage has noticed that it passed."""
    if error.code != DEADLINE_EXCEEDED or error.param is not None:
        return error
    return msgspec.structs.replace(error, param=DEADLINE_PARAM)


def status_of(error: ErrorInfo) -> int:
    """Return the HTTP status of an error that the pipeline reports."""
    if error.type == "invalid_request_error":
        return status_of_mistake(error.code)
    return _STATUS_OF_TYPE.get(error.type, 500)


def status_of_mistake(code: str) -> int:
    """Return the HTTP status of a mistake of the sender's."""
    return _STATUS_OF_CODE.get(code, 400)


def api_error(error: ErrorInfo, *, charged: bool = False, repeat: bool = False) -> ApiError:
    """Return the HTTP error for an error that the pipeline reports.

    Args:
        error: what is said.
        charged: whether the request has cost something: the official clients repeat a 5xx by themselves,
            under a new id, unless they are told not to.
        repeat: whether it is the reply that an earlier submission got.
    """
    status = status_of(error)
    headers = dict(NO_RETRY) if charged or status in (409, 504) else {}
    if status in _RETRY_AFTER_S and not charged:
        headers["Retry-After"] = str(_RETRY_AFTER_S[status])
    return ApiError(status, error, headers=headers | (REPLAYED if repeat else {}))


def as_repeat(reply: Reply) -> Reply:
    """Return the stored reply, marked as one that was given before."""
    return msgspec.structs.replace(reply, repeat=True)


def is_repeat(reply: Reply | None) -> bool:
    """Whether a reply is one that an earlier submission got."""
    return reply is not None and reply.repeat

"""HTTP errors: a sender's mistakes, outages of dependencies, replies of the pipeline without an answer.

Routes of Anthropic's API answer them as Anthropic's error object, all others as OpenAI's.
"""

import msgspec
from starlette.requests import Request

from streams.errors import (
    ClickHouseUnavailable,
    HeadraceError,
    InputError,
    KafkaUnavailable,
    StoreUnavailable,
    TransientFault,
)
from streams.events import ErrorInfo, Reply, Status
from streams.registry.entries import cancelled_error
from streams.registry.registry import TOO_MANY_REPEATS
from streams.serving.responses import NO_RETRY, REPLAYED, ApiError, invalid, outage

DEADLINE_EXCEEDED = "deadline_exceeded"
#: The `param` of every 504, whether a stage or ingest notices that the deadline has passed.
DEADLINE_PARAM = "deadline_ms"

_STATUS_OF_CODE = {"model_not_found": 404, "idempotency_conflict": 409, "request_cancelled": 409}
_DEPENDENCIES: dict[type[TransientFault], str] = {
    StoreUnavailable: "the request registry",
    KafkaUnavailable: "Kafka",
    ClickHouseUnavailable: "ClickHouse",
}
_STATUS_OF_TYPE = {"timeout_error": 504, "unavailable_error": 503, "rate_limit_error": 429}
_RETRY_AFTER_S = {503: 2, 429: 10}
_NO_ERROR = ErrorInfo(type="api_error", code="internal_error", message="the request failed")
#: https://docs.anthropic.com/en/api/errors, and `conflict_error` of their SDK.
_TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
#: Every type that an error may have.
ERROR_TYPES = sorted({*_TYPE_OF_STATUS.values(), "api_error"})


def as_api_error(fault: HeadraceError) -> ApiError:
    """Return the HTTP error for a sender's mistake (4xx) or an outage (503); any other fault is raised."""
    if isinstance(fault, ApiError):
        return fault
    if isinstance(fault, InputError):
        status = _STATUS_OF_CODE.get(fault.code, 400)
        return invalid(fault.message, param=fault.param, code=fault.code, status=status)
    for kind, name in _DEPENDENCIES.items():
        if isinstance(fault, kind):
            return outage(fault, name)
    raise fault


def conflict(message: str, *, code: str = "idempotency_conflict", param: str | None = None) -> ApiError:
    """Return a 409 that no client should retry by itself."""
    return invalid(message, code=code, param=param, status=409, headers=NO_RETRY)


def too_many_repeats() -> ApiError:
    """Return the 429 for a request whose list of waiting senders is full."""
    error = ErrorInfo(
        type="rate_limit_error",
        code=TOO_MANY_REPEATS,
        message="the request runs, and nobody else can wait for its reply: fetch it with GET",
        param="Idempotency-Key",
    )
    return ApiError(429, error, headers={"Retry-After": "5"})


def timed_out(request_id: str, deadline_ms: int) -> ApiError:
    """Return the 504 for a request without a reply within its deadline. The request goes on."""
    error = ErrorInfo(
        type="timeout_error",
        code=DEADLINE_EXCEEDED,
        message=f"no reply within {deadline_ms} ms. The request goes on, and its reply can be fetched at "
        f"GET /v1/requests/{request_id}; sending it again would ask twice",
        param=DEADLINE_PARAM,
    )
    return ApiError(504, error, headers=NO_RETRY)


def is_blocked_input(reply: Reply) -> bool:
    """Whether the input guardrails stopped the request, so that there is no answer at all."""
    return reply.status is Status.BLOCKED and not reply.content


def is_blocked_output(reply: Reply) -> bool:
    """Whether the output check replaced the answer."""
    return reply.finish_reason == "content_filter" and bool(reply.content)


def error_of(reply: Reply) -> ErrorInfo | None:
    """Return the error of a reply; None if it has an answer."""
    if is_blocked_input(reply):
        reason = reply.error.message if reply.error else "the request was blocked by a guardrail"
        param = reply.error.param if reply.error else None
        return ErrorInfo(type="invalid_request_error", code="content_filter", message=reason, param=param)
    if reply.status is Status.FAILED:
        error = reply.error or _NO_ERROR
        if error.code == DEADLINE_EXCEEDED and error.param is None:
            error = msgspec.structs.replace(error, param=DEADLINE_PARAM)
        return naming_the_charge(error, reply)
    if reply.status is Status.CANCELLED:
        return naming_the_charge(reply.error or cancelled_error(), reply)
    return None


def failure_of(reply: Reply) -> ErrorInfo | None:
    """Return the error of a line of a batch: as `error_of`; a degraded answer, an apology, is one, too."""
    if reply.status is not Status.DEGRADED:
        return error_of(reply)
    why = reply.error.message if reply.error else "no model answered"
    error = ErrorInfo(type="unavailable_error", code="all_models_failed", message=why)
    return naming_the_charge(error, reply)


def is_charged(reply: Reply) -> bool:
    """Whether a model was paid for the request. Sent again under another id, it would be paid again."""
    return reply.cost_usd > 0


def naming_the_charge(error: ErrorInfo, reply: Reply) -> ErrorInfo:
    """Return the error; its message names the cost of the request, if it has one."""
    if not is_charged(reply):
        return error
    message = f"{error.message}. A model was called, and charged: {reply.cost_usd.normalize():f} USD"
    return msgspec.structs.replace(error, message=message)


def status_of(error: ErrorInfo) -> int:
    """Return the HTTP status of an error that the pipeline reports."""
    if error.type == "invalid_request_error":
        return _STATUS_OF_CODE.get(error.code, 400)
    return _STATUS_OF_TYPE.get(error.type, 500)


def api_error(error: ErrorInfo, *, charged: bool = False, repeat: bool = False) -> ApiError:
    """Return the HTTP error for an error that the pipeline reports."""
    status = status_of(error)
    # The official clients repeat a 5xx by themselves, under a new id, unless the response forbids it.
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


def anthropic_error_body(
    error: ErrorInfo, request_id: str | None, *, status: int | None = None, repeat: bool = False
) -> dict[str, object]:
    """Return Anthropic's error object. `code` and `param` are Headrace's, and their SDK leaves them alone."""
    status = status_of(error) if status is None else status  # an error within a stream has none of its own
    kind = _TYPE_OF_STATUS.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")
    inner = {"type": kind, "message": error.message, "code": error.code, "param": error.param}
    return {"type": "error", "error": inner | ({"repeat": True} if repeat else {}), "request_id": request_id}


def speaks_anthropic(request: Request) -> bool:
    """Whether a request is one of Anthropic's API: by its route or, for models, by Anthropic's header."""
    path = request.scope["path"]  # the path of `request.url` depends on the Host header
    # Both APIs have this route; all of Anthropic's clients send the header.
    if path == "/v1/models" or path.startswith("/v1/models/"):
        return "anthropic-version" in request.headers
    return is_anthropic_route(path)


def is_anthropic_route(path: str) -> bool:
    """Whether a path is of Anthropic's API alone."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")

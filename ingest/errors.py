"""What goes wrong at ingest, in the shape that all our HTTP servers share."""

from streams.events import ErrorInfo
from streams.registry.registry import TOO_MANY_REPEATS
from streams.serving.errors import (
    NO_RETRY,
    REPLAYED,
    ApiError,
    error_body,
    invalid,
    not_found,
    outage,
    unauthorized,
    unavailable,
)

__all__ = [
    "DEADLINE_EXCEEDED",
    "DEADLINE_PARAM",
    "NO_RETRY",
    "REPLAYED",
    "ApiError",
    "conflict",
    "error_body",
    "invalid",
    "not_found",
    "outage",
    "timed_out",
    "too_many_repeats",
    "unauthorized",
    "unavailable",
]

DEADLINE_EXCEEDED = "deadline_exceeded"
#: What every 504 names: the stages, and the clock here, notice it at different places.
DEADLINE_PARAM = "deadline_ms"


def conflict(message: str, *, code: str = "idempotency_conflict", param: str | None = None) -> ApiError:
    """The same request id stands for another request already."""
    error = ErrorInfo(type="invalid_request_error", code=code, message=message, param=param)
    return ApiError(409, error, headers=NO_RETRY)


def too_many_repeats() -> ApiError:
    """As many senders as may be wait for one request's reply, or there is no memory for one more."""
    error = ErrorInfo(
        type="rate_limit_error",
        code=TOO_MANY_REPEATS,
        message="the request runs, and nobody else can wait for its reply: fetch it with GET",
        param="Idempotency-Key",
    )
    return ApiError(429, error, headers={"Retry-After": "5"})


def timed_out(request_id: str, deadline_ms: int) -> ApiError:
    """No reply within the deadline. The request goes on."""
    error = ErrorInfo(
        type="timeout_error",
        code=DEADLINE_EXCEEDED,
        message=f"no reply within {deadline_ms} ms. The request goes on, and its reply can be fetched at "
        f"GET /v1/requests/{request_id}; sending it again would ask twice",
        param=DEADLINE_PARAM,
    )
    return ApiError(504, error, headers=NO_RETRY)

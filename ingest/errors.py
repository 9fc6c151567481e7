"""The HTTP errors of ingest, and how a fault of the layers below becomes one of them."""

from streams.errors import (
    ClickHouseUnavailable,
    HeadraceError,
    InputError,
    KafkaUnavailable,
    StoreUnavailable,
    TransientFault,
)
from streams.events import ErrorInfo
from streams.registry.registry import TOO_MANY_REPEATS
from streams.serving.errors import NO_RETRY, ApiError, invalid, outage

DEADLINE_EXCEEDED = "deadline_exceeded"
#: The `param` of every 504, whether a stage or ingest notices that the deadline has passed.
DEADLINE_PARAM = "deadline_ms"

_STATUS_OF_CODE = {"model_not_found": 404, "idempotency_conflict": 409, "request_cancelled": 409}
_DEPENDENCIES: dict[type[TransientFault], str] = {
    StoreUnavailable: "the request registry",
    KafkaUnavailable: "Kafka",
    ClickHouseUnavailable: "ClickHouse",
}


def as_api_error(fault: HeadraceError) -> ApiError:
    """Return the HTTP error for a sender's mistake (4xx) or an outage (503); any other fault is raised."""
    if isinstance(fault, ApiError):
        return fault
    if isinstance(fault, InputError):
        return invalid(fault.message, param=fault.param, code=fault.code, status=status_of_code(fault.code))
    for kind, name in _DEPENDENCIES.items():
        if isinstance(fault, kind):
            return outage(fault, name)
    raise fault


def status_of_code(code: str) -> int:
    """Return the HTTP status for the code of a sender's mistake."""
    return _STATUS_OF_CODE.get(code, 400)


def conflict(message: str, *, code: str = "idempotency_conflict", param: str | None = None) -> ApiError:
    """Return a 409 that no client should retry by itself."""
    error = ErrorInfo(type="invalid_request_error", code=code, message=message, param=param)
    return ApiError(409, error, headers=NO_RETRY)


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

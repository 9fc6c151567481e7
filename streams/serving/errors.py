"""HTTP errors as OpenAI's error object with the right status."""

from collections.abc import Mapping
from types import MappingProxyType

from streams.errors import HeadraceError, StoreFull, TransientFault
from streams.events import ErrorInfo

#: OpenAI's SDKs retry 408, 409, 429 and 5xx without it. Where the request still runs, or can never succeed, a
#: retry would only pay twice.
NO_RETRY = {"x-should-retry": "false"}
#: On every repeated response, as Stripe names it; its body says `repeat`.
REPLAYED = {"Idempotent-Replayed": "true"}


class ApiError(HeadraceError):
    """An error that the client should read; `headers` are extra response headers, e.g. `Retry-After`."""

    def __init__(
        self, status: int, error: ErrorInfo, *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = dict(headers)


def error_body(error: ErrorInfo, request_id: str | None, *, repeat: bool = False) -> dict[str, object]:
    """Return OpenAI's error object with the request's id; `repeat`: an earlier submission got the same."""
    said = {name: getattr(error, name) for name in ("message", "type", "code", "param")}
    return {"error": {**said, "request_id": request_id, **({"repeat": True} if repeat else {})}}


def invalid(
    message: str,
    *,
    param: str | None = None,
    code: str = "invalid_request",
    status: int = 400,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> ApiError:
    """Return the error for a client's mistake: `message` says what to change, `param` where."""
    error = ErrorInfo(type="invalid_request_error", code=code, message=message, param=param)
    return ApiError(status, error, headers=headers)


def unauthorized(message: str) -> ApiError:
    """Return the 401: no API key, or an unknown one."""
    error = ErrorInfo(type="authentication_error", code="invalid_api_key", message=message)
    return ApiError(401, error, headers={"WWW-Authenticate": "Bearer"})


def not_found(message: str, *, code: str = "not_found", param: str | None = None) -> ApiError:
    """Return the 404: it does not exist, or not for this caller."""
    return invalid(message, code=code, param=param, status=404)


def unavailable(message: str, *, code: str = "service_unavailable", retry_after_s: float = 1.0) -> ApiError:
    """Something is missing for the moment; nothing was accepted."""
    error = ErrorInfo(type="unavailable_error", code=code, message=message)
    return ApiError(503, error, headers={"Retry-After": str(max(1, round(retry_after_s)))})


def outage(fault: TransientFault, what: str) -> ApiError:
    """Return the 503 for a dependency's outage; the client does not read the fault's own words."""
    state = "has no memory left for anything new" if isinstance(fault, StoreFull) else "does not answer"
    return unavailable(f"{what} {state}; try again", retry_after_s=fault.retry_after_s)

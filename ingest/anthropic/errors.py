"""Anthropic's error object, and which requests are answered with it."""

from collections.abc import Mapping

from starlette.requests import Request

from ingest.errors import status_of
from streams.events import ErrorInfo
from streams.serving.errors import error_body
from streams.serving.protocol import BoundedHttp

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
_INVALID = range(400, 500)
#: Every type that an error may have.
ERROR_TYPES = sorted({*_TYPE_OF_STATUS.values(), "api_error"})


def anthropic_error_body(
    error: ErrorInfo, request_id: str | None, *, status: int | None = None, repeat: bool = False
) -> dict[str, object]:
    """Return Anthropic's error object. `code` and `param` are Headrace's, and their SDK leaves them alone."""
    status = status_of(error) if status is None else status  # an error within a stream has none of its own
    kind = _TYPE_OF_STATUS.get(status, "invalid_request_error" if status in _INVALID else "api_error")
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


class IngestHttp(BoundedHttp):
    """HTTP/1.1 that refuses malformed requests with the error object of the API that was asked."""

    @staticmethod
    def error_object(error: ErrorInfo, status: int, request_id: str, path: str) -> Mapping[str, object]:
        """Return the error object of the API that has this path."""
        if is_anthropic_route(path):
            return anthropic_error_body(error, request_id, status=status)
        return error_body(error, request_id)

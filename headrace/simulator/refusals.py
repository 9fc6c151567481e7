"""What a provider answers instead of a completion: one value, rendered in either provider's shape."""

from typing import Any

import msgspec

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class Refusal(Exception):
    """A call that is answered with an error.

    Attributes:
        status: HTTP status.
        message: What is wrong, for the caller.
        kind: OpenAI's `error.type`; Anthropic's type follows from the status.
        param: OpenAI's `error.param`: the field at fault.
        code: OpenAI's `error.code`.
        headers: Extra response headers, such as `retry-after`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers


def openai_error(refusal: Refusal) -> dict[str, Any]:
    """Return the error object that the OpenAI API sends."""
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def anthropic_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return the error object that the Anthropic API sends."""
    kind = _ANTHROPIC_TYPES.get(refusal.status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": refusal.message},
        "request_id": request_id,
    }


def encode(value: Any) -> bytes:
    """Encode a reply body or event as JSON."""
    return msgspec.json.encode(value)

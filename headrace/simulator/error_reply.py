"""An error that a provider answers with: one value for both APIs, which render it in their own shape."""

from typing import Any

import msgspec

HeaderList = list[tuple[str, str]]


class ErrorReply(Exception):
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
        headers: HeaderList | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers or []


def model_not_found(name: str) -> ErrorReply:
    """Return the 404 for a model that the API does not serve."""
    return ErrorReply(404, f"The model `{name}` does not exist.", code="model_not_found")


def unreadable_body(reason: str) -> ErrorReply:
    """Return the 400 for a body that is not JSON."""
    return ErrorReply(400, f"We could not parse the JSON body of your request: {reason}")


def rate_limited(retry_after_s: float, scarce: str = "requests") -> ErrorReply:
    """Return the 429 for a call beyond the limit of `requests` or `tokens`."""
    message = f"Rate limit reached on {scarce} per minute. Please try again in {retry_after_s:g} s."
    return ErrorReply(
        429, message, kind=scarce, code="rate_limit_exceeded", headers=retry_after(retry_after_s)
    )


def retry_after(seconds: float | None) -> HeaderList:
    """Return the header that says how long to wait; none for None."""
    return [] if seconds is None else [("retry-after", f"{seconds:g}")]


def encode(value: Any) -> bytes:
    """Encode a reply body or an event as JSON."""
    return msgspec.json.encode(value)

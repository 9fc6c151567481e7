"""An error that a provider answers with: one value for both APIs, which render it in their own shape."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass


@dataclass(eq=False)
class ErrorReply(Exception):
    """A call that is answered with an error: what every check of a request raises.

    `kind`, `param` and `code` are OpenAI's; Anthropic's error type follows from the status.
    """

    status: int
    message: str
    _: KW_ONLY
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Sequence[tuple[str, str]] = ()


def wrong_field(param: str, reason: str, code: str | None = None) -> ErrorReply:
    """Return the 400 for a field that the API does not take."""
    return ErrorReply(400, f"{param}: {reason}", param=param, code=code)


def model_not_found(name: str) -> ErrorReply:
    """Return the 404 for a model that the API does not serve."""
    return ErrorReply(404, f"The model `{name}` does not exist.", code="model_not_found")


def unreadable_body(reason: str) -> ErrorReply:
    """Return the 400 for a body that is not JSON."""
    return ErrorReply(400, f"We could not parse the JSON body of your request: {reason}")

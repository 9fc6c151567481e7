"""What a provider says has gone wrong, in whatever shape, as the fault that it is.

OpenAI's and Anthropic's error objects (platform.openai.com/docs/guides/error-codes,
docs.anthropic.com/en/api/errors), and those of compatible servers: a text for an object, a number for a code,
the object without the `error` around it, a list around it; any of them with status 200.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from agents.providers.answers import json_fields
from agents.providers.answers.encodable import decoded, encodable
from agents.providers.faults import (
    AuthenticationFault,
    ContextTooLong,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
)

#: The status of an answer, or of a stream, in which an error is told.
STREAMING = 200
_STATUSES = range(400, 600)
_MAX_MESSAGE_CHARS = 2_000
_MAX_NAME_CHARS = 100
#: What says why, where the message is no `message`: FastAPI, Bedrock, TGI.
_WORDS = ("message", "detail", "msg", "error", "reason")
# Anthropic, Bedrock, vLLM and llama.cpp have no code for it, only words.
_TOO_LONG = (
    "prompt is too long",
    "input is too long",
    "exceed context limit",
    "maximum context length",
    "available context size",
)
#: The status that a type or code of an error stands for.
_NAMES: Final = {
    400: "invalid_request_error invalid_argument badrequesterror bad_request validation input "
    "validationexception validation_error failed_precondition out_of_range context_length_exceeded "
    "string_above_max_length content_filter",
    401: "authentication_error unauthenticated invalid_api_key unauthorized",
    402: "insufficient_quota billing_error billing_hard_limit_reached insufficient_credits",
    403: "permission_error permission_denied accessdeniedexception forbidden",
    404: "not_found_error model_not_found not_found notfounderror",
    413: "request_too_large",
    429: "rate_limit_error rate_limit_exceeded requests tokens resource_exhausted throttlingexception "
    "too_many_requests ratelimiterror",
    503: "overloaded_error overloaded unavailable serviceunavailableexception service_unavailable_error "
    "service_unavailable modelnotreadyexception",
}
_STATUS_OF: Final = {name: status for status, names in _NAMES.items() for name in names.split()}
#: The fault of a status; those from 500 on are a `ServerFault`, and other ones are refusals.
_FAULTS: Final[Mapping[int, type[ProviderFault]]] = {
    401: AuthenticationFault,
    402: QuotaExhausted,
    403: AuthenticationFault,
    408: ServerFault,
    409: ServerFault,
    425: ServerFault,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
_STATUS_FIELDS = ("code", "status", "status_code", "http_status_code")
#: A name that stands for one of these says more than the HTTP status does.
_TELLING: Final = (402, 429, 503)


def error_in(value: object, *, named: bool = False) -> object | None:
    """Return what a JSON value says of an error; None where it tells of none.

    One that is `named`, because it came in an event named `error`, always is one.
    """
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        return value if named else None
    if value.get("error"):
        return value if isinstance(value["error"], str) else value["error"]
    if named or value.get("type") == "error" or value.get("object") == "error":
        return value
    return None


def error_of_body(body: bytes) -> object:
    """Return what the body of an error response says; its text where it is no JSON."""
    text = decoded(body)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return error_in(value, named=True)


def fault_of_error(
    error: object, *, status: int = STREAMING, headers: Mapping[str, str] | None = None
) -> ProviderFault:
    """Return the fault that an error stands for: an object, a text, or anything else.

    `status` is 200 where the error is in an answer or a stream. `headers` may have a `Retry-After`.
    """
    fields = error if isinstance(error, dict) else {}
    kind, code, state, more = (_name(fields.get(field)) for field in ("type", "code", "status", "error_type"))
    names = [name.lower() for name in (kind, code, state, more) if name]
    status = _status(status, fields, names)
    message = _message(error, status)
    if status == 404:
        return ModelUnavailable(message, code="model_not_found", param="model")
    if status < 400:
        return ServerFault(f"the provider redirects (HTTP {status}); set its base URL to where it serves")
    if fault := _FAULTS.get(status) or (ServerFault if status >= 500 else None):
        return fault(message, retry_after_s=retry_after_s(headers or {}, datetime.now(UTC)))
    param = _name(fields.get("param"))
    if "context_length_exceeded" in names or status == 413 or any(x in message.lower() for x in _TOO_LONG):
        return ContextTooLong(message, code="context_length_exceeded", param=param or "messages")
    return Refused(message, code=code or kind or state or more or "invalid_request", param=param)


def _status(status: int, fields: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return the status that an error stands for, whatever status it came with."""
    named = [_STATUS_OF[name] for name in names if name in _STATUS_OF]
    telling = next((each for each in _TELLING if each in named), None)
    if telling is not None:
        return telling
    if status != STREAMING:
        return 404 if 404 in named and status in range(400, 500) else status
    numbers = [json_fields.number(fields.get(field)) for field in _STATUS_FIELDS]
    return next((each for each in (*numbers, *named) if each is not None and each in _STATUSES), 500)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds `retry-after-ms` or `Retry-After` ask to wait; None where neither does."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def _name(value: object) -> str | None:
    return json_fields.short(value)[:_MAX_NAME_CHARS] or None


def _message(error: object, status: int) -> str:
    """Return the provider's own words, or what stands for them."""
    found = error
    if isinstance(error, dict):
        found = next((error[name] for name in _WORDS if error.get(name)), None)
    if found and not isinstance(found, str):
        with suppress(RecursionError):
            found = json.dumps(found)
    text = encodable(found.strip()) if isinstance(found, str) else ""
    if not text:
        return f"the provider gave no reason (HTTP {status})"
    if text.startswith("<"):
        return f"the provider answered with an HTML page instead of an error (HTTP {status})"
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[:_MAX_MESSAGE_CHARS] + "…"

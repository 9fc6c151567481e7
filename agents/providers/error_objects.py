"""What a provider says has gone wrong, in whatever shape, as the fault that it is.

OpenAI's and Anthropic's error objects, and those of who speaks their language: a text for an object, a
number for a code, the object without the `error` around it, a list around it; any of them with status 200.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from agents.providers.answers.encodable import decoded, encodable
from agents.providers.faults import ProviderFault
from agents.providers.http_faults import STREAMING, status_fault

_MAX_MESSAGE_CHARS = 2_000
_MAX_NAME_CHARS = 100
#: What says why, where the message is no `message`: FastAPI, Bedrock, TGI.
_WORDS = ("message", "detail", "msg", "error", "reason")
#: The status that a name stands for, where the status says nothing.
_STATUS_OF: Final = {
    **dict.fromkeys(
        (
            "invalid_request_error",
            "invalid_argument",
            "badrequesterror",
            "bad_request",
            "validation",
            "input",
        ),
        400,
    ),
    **dict.fromkeys(("validationexception", "validation_error", "failed_precondition", "out_of_range"), 400),
    **dict.fromkeys(("context_length_exceeded", "string_above_max_length", "content_filter"), 400),
    **dict.fromkeys(("authentication_error", "unauthenticated", "invalid_api_key", "unauthorized"), 401),
    **dict.fromkeys(("permission_error", "permission_denied", "accessdeniedexception", "forbidden"), 403),
    **dict.fromkeys(("not_found_error", "model_not_found", "not_found", "notfounderror"), 404),
    **dict.fromkeys(("insufficient_quota", "billing_error", "insufficient_credits"), 402),
    **dict.fromkeys(("request_too_large",), 413),
    **dict.fromkeys(
        ("rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "throttlingexception"), 429
    ),
    **dict.fromkeys(("too_many_requests", "ratelimiterror"), 429),
    **dict.fromkeys(("overloaded_error", "overloaded", "unavailable", "serviceunavailableexception"), 503),
    **dict.fromkeys(("service_unavailable_error", "service_unavailable", "modelnotreadyexception"), 503),
}
_STATUSES = range(400, 600)


def error_in(value: object, *, named: bool = False) -> object | None:
    """Return what a JSON value says of an error; None where it tells of none.

    Args:
        value: the value.
        named: whether it came in an event named `error`: then it is one.
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


def fault_told(
    error: object, *, status: int = STREAMING, headers: Mapping[str, str] | None = None
) -> ProviderFault:
    """Return the fault that a provider tells of.

    Args:
        error: the error: an object, a text, or anything else.
        status: the HTTP status; 200 where the error is in an answer or a stream.
        headers: the response's headers, for `Retry-After`.
    """
    told = error if isinstance(error, dict) else {}
    names = [_name(told.get(field)) for field in ("type", "code", "status", "error_type")]
    if status == STREAMING:
        status = _status(told, [name.lower() for name in names if name])
    return status_fault(
        status,
        _message(error, status),
        kind=names[0] or names[2] or names[3],
        code=names[1],
        param=_name(told.get("param")),
        headers=headers,
    )


def error_of_body(body: bytes) -> object:
    """Return what the body of an error response says; its text where it is no JSON."""
    text = decoded(body)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return error_in(value, named=True)


def _status(told: Mapping[str, Any], names: list[str]) -> int:
    for field in ("code", "status", "status_code", "http_status_code"):
        number = _number(told.get(field))
        if number in _STATUSES:
            return number
    found = [_STATUS_OF[name] for name in names if name in _STATUS_OF]
    return found[0] if found else 500


def _number(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == len("500"):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _name(value: object) -> str | None:
    """Return a type, code or field name; None for none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**9 else None
    return encodable(value[:_MAX_NAME_CHARS]) if isinstance(value, str) and value else None


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

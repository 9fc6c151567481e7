"""From an HTTP error of a provider to the fault that it is.

Status codes and error types are those that OpenAI (platform.openai.com/docs/guides/error-codes) and
Anthropic (docs.anthropic.com/en/api/errors) document; both use the same ones for the same things.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import httpx2

from agents.providers.faults import (
    AuthenticationFault,
    ClientNotLoaded,
    ConnectionLost,
    ContextTooLong,
    Malformed,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
)
from agents.providers.provider import Timeouts

#: The status of an answer, or of a stream, in which an error is told of.
STREAMING = 200

_MAX_CHARS = 500

_QUOTA = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached"})
_OVERLOADED = frozenset({"overloaded_error", "service_unavailable_error"})
_RATE_LIMITED = frozenset({"rate_limit_error", "rate_limit_exceeded", "requests", "tokens"})
_NO_SUCH_MODEL = frozenset({"model_not_found", "not_found_error"})
_FIRST_REFUSAL = 400
# Anthropic, Bedrock, vLLM and llama.cpp have no code for it, only words.
_TOO_LONG = (
    "prompt is too long",
    "input is too long",
    "exceed context limit",
    "maximum context length",
    "available context size",
)


def status_fault(
    status: int,
    message: str,
    *,
    kind: str | None = None,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> ProviderFault:
    """Return the fault that an error response is.

    Args:
        status: the HTTP status, or the one that the error stands for where an answer tells of it.
        message: the provider's words.
        kind: the `type` of the error object.
        code: the `code` of the error object (OpenAI).
        param: the `param` of the error object (OpenAI).
        headers: the response's headers, for `Retry-After`.
        now: the time from which a `Retry-After` date counts; the current time where it is None.
    """
    names = {name.lower() for name in (kind, code) if name}
    wait_s = retry_after_s(headers or {}, now or datetime.now(UTC))
    if status == 402 or names & _QUOTA:
        return QuotaExhausted(message)
    if status == 429 or names & _RATE_LIMITED:
        return RateLimited(message, retry_after_s=wait_s)
    if status in {503, 529} or names & _OVERLOADED:
        return Overloaded(message, retry_after_s=wait_s)
    if status < 400:
        return ServerFault(f"the provider redirects (HTTP {status}); set its base URL to where it serves")
    if status >= 500 or status in {408, 409, 425}:
        return ServerFault(message, retry_after_s=wait_s)
    return _refusal(status, message, names, code=code or kind or "invalid_request", param=param)


def _refusal(status: int, message: str, names: set[str], *, code: str, param: str | None) -> ProviderFault:
    if names & _NO_SUCH_MODEL or status == 404:
        return ModelUnavailable(message, code="model_not_found", param="model")
    if status in {401, 403}:
        return AuthenticationFault(message)
    if "context_length_exceeded" in names or status == 413 or any(x in message.lower() for x in _TOO_LONG):
        return ContextTooLong(message, code="context_length_exceeded", param=param or "messages")
    return Refused(message, code=code, param=param)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds `retry-after-ms` or `Retry-After` ask to wait; None where neither does."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def may_be_billed(fault: ProviderFault, error: BaseException) -> bool:
    """Tell whether a provider may bill a call that failed before any of its answer was read.

    It may where the request was sent and no refusal came back: the answer is generated, whether or not it
    arrives. A call that reached nobody, or that a status from 400 on has refused, is not billed.

    Args:
        fault: what went wrong.
        error: the exception that said so, with its causes.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status < _FIRST_REFUSAL
    if isinstance(fault, ProviderTimeout) and fault.phase == "connect":
        return False
    return not isinstance(fault, Refused | ClientNotLoaded) and not _never_connected(error)


def _never_connected(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, aiohttp.ClientConnectorError | httpx2.ConnectError):
            return True
        error = error.__cause__
    return False


def transport_fault(error: Exception, timeouts: Timeouts, after_chunks: int) -> ProviderFault:
    """Return the fault for what the HTTP client, or reading the answer, has raised."""
    words = f"{type(error).__name__}: {str(error)[:_MAX_CHARS]}"
    match error:
        case httpx2.TimeoutException():
            return _timeout_fault(error, timeouts, after_chunks)
        case httpx2.DecodingError():
            return Malformed(f"the answer is not compressed as it says: {error}")
        case httpx2.HTTPError() | OSError():
            return ConnectionLost(words.removesuffix(": "), after_chunks=after_chunks)
        case aiohttp.ClientError():
            return Malformed(f"the answer is no HTTP response: {words}")
        case _:
            return Malformed(f"the answer could not be read: {words}")


def _timeout_fault(error: httpx2.TimeoutException, timeouts: Timeouts, after_chunks: int) -> ProviderFault:
    """Return the fault for what the HTTP client calls a timeout, and noticed before we did.

    It has one name, `ConnectTimeout`, for each connection that fails, late or refused: the cause tells which.
    """
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, TimeoutError):
        return ConnectionLost(
            f"{type(cause).__name__}: {str(cause)[:_MAX_CHARS]}".removesuffix(": "), after_chunks=after_chunks
        )
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ProviderTimeout("connect", after_s=timeouts.connect_s)
    return ProviderTimeout("total", after_s=timeouts.total_s)

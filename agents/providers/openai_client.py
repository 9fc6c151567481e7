"""OpenAI's official client: how it is made, what it is told, and which fault each of its exceptions is."""

from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient

from agents.providers.faults import ProviderFault
from agents.providers.http_faults import (
    CONNECTIONS,
    connection_fault,
    http_timeout,
    malformed,
    status_fault,
    timeout_fault,
)
from agents.providers.port import CALL_ID_HEADER, AnyCall

_ERROR_EVENT = 200  # the status of a stream in which an error is an event


def new_client(*, api_key: str, base_url: str | None) -> AsyncOpenAI:
    """Return a client that retries nothing by itself; OpenAI's own address where `base_url` is None."""
    # The client's own second HTTP transport: it reads a chunk in two thirds of the first one's time.
    http = DefaultAioHttpClient(limits=CONNECTIONS)
    return AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)


def options_of(call: AnyCall) -> Any:
    """Return the client's options for a call: our id for it, and its limits."""
    return {
        "headers": {CALL_ID_HEADER: call.call_id},
        "timeout": http_timeout(call.timeouts),
        "security": {"bearer_auth": True},
    }


def fault_of(error: Exception, call: AnyCall, chunks: int) -> ProviderFault:
    """Return the fault for what the client, or reading its answer, has raised."""
    match error:
        case openai.APITimeoutError():
            return timeout_fault(error.__cause__, call.timeouts, chunks)
        case openai.APIConnectionError():
            return connection_fault(error.__cause__ or error, chunks)
        case openai.APIError():
            return _spoken_fault(error)
        case httpx2.HTTPError():
            return connection_fault(error, chunks)
        case _:
            return malformed(error)


def _spoken_fault(error: openai.APIError) -> ProviderFault:
    """Return the fault that the provider told of, by a status or by an event within the stream."""
    status, headers = _ERROR_EVENT, None
    if isinstance(error, openai.APIStatusError):
        status, headers = error.status_code, error.response.headers
    return status_fault(
        status, _words(error), kind=error.type, code=error.code, param=error.param, headers=headers
    )


def _words(error: openai.APIError) -> str:
    """Return the provider's own words, without the status line that the client puts before them."""
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return message if isinstance(message, str) else error.message

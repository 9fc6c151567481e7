"""OpenAI's official client: how it is made, and what it is told of a call."""

from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from agents.providers.http_faults import CONNECTIONS, http_timeout
from agents.providers.official_clients import ClientErrors, shortened_errors
from agents.providers.port import CALL_ID_HEADER, AnyCall

ERRORS = ClientErrors(
    base=openai.OpenAIError,
    timeout=openai.APITimeoutError,
    connection=openai.APIConnectionError,
    status=openai.APIStatusError,
)


def new_client(*, api_key: str, base_url: str | None) -> AsyncOpenAI:
    """Return a client that retries nothing by itself; OpenAI's own address where `base_url` is None."""
    # The client's own second HTTP transport: it reads a chunk in two thirds of the first one's time.
    http = shortened_errors(DefaultAioHttpClient(limits=CONNECTIONS))
    return AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)


async def post(client: AsyncOpenAI, path: str, body: dict[str, Any], call: AnyCall) -> httpx2.Response:
    """Make a call; return its response, of which the body is not read yet.

    The client's `post` rather than its `chat.completions.create`: that one walks through the whole body in
    search of names to translate, and finds none: a quarter of what the client costs a call. And the response
    itself rather than the client's models and streams: they drop what servers word otherwise.
    """
    response: Any = await client.post(
        path,
        cast_to=httpx2.Response,
        body=body,
        options=_options(call),
        stream=True,
        stream_cls=AsyncStream[object],
    )
    return response  # type: ignore[no-any-return]  # what `cast_to` says


def _options(call: AnyCall) -> Any:
    """Return the client's options for a call: our id for it, and its limits."""
    return {
        "headers": {CALL_ID_HEADER: call.call_id},
        "timeout": http_timeout(call.timeouts),
        "security": {"bearer_auth": True},
    }

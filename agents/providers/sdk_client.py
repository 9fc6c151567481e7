"""The official SDKs, used alike: for HTTP, authentication and the names of their errors.

The response is read here, and not by the SDK: its models and streams drop what compatible servers word
otherwise.
"""

from collections.abc import AsyncIterator, Mapping
from types import ModuleType
from typing import Any

import httpx2

from agents.providers.provider import CALL_ID_HEADER, AnyCall

#: More than a worker ever opens: its calls in flight bound it. Idle connections are closed after a few
#: seconds.
_CONNECTIONS = httpx2.Limits(max_connections=10_000)
#: Of an error response: the rest is not read.
_MAX_ERROR_BYTES = 256 * 1024


class SdkClient:
    """One SDK's client, which retries nothing by itself.

    Args:
        sdk: the SDK: `openai`, `anthropic`, or another that the same generator has made.
        client: its class of clients.
        api_key: the key.
        base_url: where the API is; None for the provider's own address.
        options: what every request tells the SDK beside headers and timeouts.
    """

    def __init__(
        self,
        sdk: ModuleType,
        client: type[Any],
        *,
        api_key: str,
        base_url: str | None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.sdk = sdk
        self.base_error: type[Exception] = sdk.APIError.__base__  # `OpenAIError`, `AnthropicError`
        # The SDK's second HTTP transport reads a chunk in two thirds of the first one's time.
        http = _bounded(sdk.DefaultAioHttpClient(limits=_CONNECTIONS))
        self._client = client(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)
        self._options = options or {}

    async def post(
        self, path: str, body: Mapping[str, Any], call: AnyCall, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Send a call; return its response, of which the body is not read yet.

        The SDK's `post` rather than its `create`: OpenAI's walks through the whole body in search of names to
        translate, a quarter of what the SDK costs a call; Anthropic's takes no temperature, and warns at
        every call to a model that is to be retired.
        """
        timeouts = call.timeouts
        response: httpx2.Response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            body=body,
            options={
                **self._options,
                "headers": {CALL_ID_HEADER: call.call_id, **(headers or {})},
                # Reading ends with the whole call: `PhaseTimeouts` times the phases.
                "timeout": httpx2.Timeout(
                    timeouts.total_s, connect=timeouts.connect_s, pool=timeouts.connect_s
                ),
            },
            stream=True,
            stream_cls=self.sdk.AsyncStream[object],
        )
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def _bounded(http: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Make an HTTP client follow no redirects, and read no more of an error response than is of use.

    A redirect would send the key and the prompt to wherever it says.
    """
    http.follow_redirects = False
    http.event_hooks = {"response": [_shorten]}
    return http


async def _shorten(response: httpx2.Response) -> None:
    if not response.is_success:
        response.stream = _Beginning(response.stream)


class _Beginning(httpx2.AsyncByteStream):
    """The first `_MAX_ERROR_BYTES` of a body."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = _MAX_ERROR_BYTES
        async for piece in self._body:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._body.aclose()

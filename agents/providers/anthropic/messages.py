"""Anthropic Messages."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic, AsyncStream, DefaultAioHttpClient

from agents.providers.answers.reading import read_stream, read_whole
from agents.providers.anthropic.assembly import AnthropicAssembly
from agents.providers.anthropic.prompt import request_body
from agents.providers.http_faults import CONNECTIONS, http_timeout
from agents.providers.official_clients import ClientErrors, shortened_errors
from agents.providers.port import CALL_ID_HEADER, Answer, ProviderCall, ProviderEvent
from streams.models import ProviderName

_ERRORS = ClientErrors(
    base=anthropic.AnthropicError,
    timeout=anthropic.APITimeoutError,
    connection=anthropic.APIConnectionError,
    status=anthropic.APIStatusError,
)
_PATH = "/v1/messages"
# The client's own default, 2026-10-21, refuses temperature and top_p, which senders may set and the models
# in our catalogue take.
_API_VERSION = "2023-06-01"


class AnthropicMessages:
    """Anthropic through its official client, which retries nothing by itself.

    Args:
        api_key: the key.
        base_url: the API's address; Anthropic's own where it is None.
    """

    name = ProviderName.ANTHROPIC

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        # The client's own second HTTP transport: it reads an event in two thirds of the first one's time.
        http = shortened_errors(DefaultAioHttpClient(limits=CONNECTIONS))
        self._client = AsyncAnthropic(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)

    async def complete(self, call: ProviderCall) -> Answer:
        """Return the whole answer.

        Raises:
            ProviderFault: there is none.
        """
        return await read_whole(self._open(call), call, AnthropicAssembly(call), _ERRORS)

    def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece, and last the whole `Answer`.

        Raises:
            ProviderFault: the answer does not come, or breaks off.
        """
        return read_stream(self._open(call, {"stream": True}), call, AnthropicAssembly(call), _ERRORS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _open(self, call: ProviderCall, more: Mapping[str, Any] | None = None) -> httpx2.Response:
        # The client's `post` rather than its `messages.create`: that one takes no temperature, and warns at
        # every call to a model that is to be retired. And the response itself: see `openai_client.post`.
        response: Any = await self._client.post(
            _PATH,
            cast_to=httpx2.Response,
            body={**request_body(call), **(more or {})},
            options=_options(call),
            stream=True,
            stream_cls=AsyncStream[object],
        )
        return response  # type: ignore[no-any-return]  # what `cast_to` says


def _options(call: ProviderCall) -> Any:
    headers = {CALL_ID_HEADER: call.call_id, "anthropic-version": _API_VERSION}
    if betas := call.params.get("betas"):
        headers["anthropic-beta"] = ",".join(betas)
    return {"headers": headers, "timeout": http_timeout(call.timeouts)}

"""Anthropic Messages, or whatever speaks it."""

from collections.abc import Mapping
from typing import Any

import anthropic
from anthropic import AsyncAnthropic, AsyncStream, DefaultAioHttpClient

from agents.providers.answers.chat_api import ChatApi
from agents.providers.anthropic.assembly import AnthropicAssembly
from agents.providers.anthropic.prompt import request_body
from agents.providers.provider import ProviderCall
from agents.providers.sdk_client import CONNECTIONS, SdkClient, SdkErrors, http_client
from streams.models import ProviderName

_ERRORS = SdkErrors(
    base=anthropic.AnthropicError,
    timeout=anthropic.APITimeoutError,
    connection=anthropic.APIConnectionError,
    status=anthropic.APIStatusError,
)
# The SDK's own default, 2026-10-21, refuses temperature and top_p, which senders may set and the models in
# our catalogue take.
_API_VERSION = "2023-06-01"


class AnthropicMessages(ChatApi):
    """Anthropic."""

    name = ProviderName.ANTHROPIC
    path = "/v1/messages"
    assembly = AnthropicAssembly

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        # The SDK's second HTTP transport reads an event in two thirds of the first one's time.
        http = http_client(DefaultAioHttpClient(limits=CONNECTIONS))
        sdk = AsyncAnthropic(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)
        super().__init__(SdkClient(sdk, errors=_ERRORS, stream_type=AsyncStream[object]))

    def body(self, call: ProviderCall) -> dict[str, Any]:
        """Return the body of the request.

        Raises:
            Refused: the call cannot be said in Anthropic's terms.
        """
        return {**request_body(call), **({"stream": True} if call.stream else {})}

    def headers(self, call: ProviderCall) -> Mapping[str, str]:
        """Return the version of the API, and the beta features that the request asks for."""
        betas = call.params.get("betas")
        return {
            "anthropic-version": _API_VERSION,
            **({"anthropic-beta": ",".join(betas)} if betas else {}),
        }

"""OpenAI's official SDK."""

import openai
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from agents.providers.sdk_client import CONNECTIONS, SdkClient, SdkErrors, http_client

_ERRORS = SdkErrors(
    base=openai.OpenAIError,
    timeout=openai.APITimeoutError,
    connection=openai.APIConnectionError,
    status=openai.APIStatusError,
)


def openai_client(*, api_key: str, base_url: str | None) -> SdkClient:
    """Return a client; OpenAI's own address where `base_url` is None."""
    # The SDK's second HTTP transport reads a chunk in two thirds of the first one's time.
    http = http_client(DefaultAioHttpClient(limits=CONNECTIONS))
    sdk = AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http)
    options = {"security": {"bearer_auth": True}}
    return SdkClient(sdk, errors=_ERRORS, stream_type=AsyncStream[object], options=options)

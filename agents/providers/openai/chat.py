"""OpenAI Chat Completions, or whatever speaks it (vLLM, Azure, the simulator)."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx2
import msgspec

from agents.providers.answers.reading import read_stream, read_whole
from agents.providers.openai.assembly import OpenAIAssembly
from agents.providers.openai.client import ERRORS, new_client, post
from agents.providers.port import Answer, ProviderCall, ProviderEvent
from streams.events import Message
from streams.models import ProviderName
from streams.request_rules.parameters import passed_on

_PATH = "/chat/completions"


class OpenAIChat:
    """OpenAI through its official client, which retries nothing by itself.

    Args:
        api_key: the key.
        base_url: the API's address; OpenAI's own where it is None.
    """

    name = ProviderName.OPENAI

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        self._client = new_client(api_key=api_key, base_url=base_url)

    async def complete(self, call: ProviderCall) -> Answer:
        """Return the whole answer.

        Raises:
            ProviderFault: there is none.
        """
        return await read_whole(self._open(call), call, OpenAIAssembly(call), ERRORS)

    def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece, and last the whole `Answer`.

        Raises:
            ProviderFault: the answer does not come, or breaks off.
        """
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        return read_stream(self._open(call, streamed), call, OpenAIAssembly(call), ERRORS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _open(self, call: ProviderCall, more: Mapping[str, Any] | None = None) -> httpx2.Response:
        return await post(self._client, _PATH, {**_body(call), **(more or {})}, call)


def _body(call: ProviderCall) -> dict[str, Any]:
    params = passed_on(call.params, ProviderName.OPENAI)
    if not call.tools:
        params.pop("parallel_tool_calls", None)
    given = {
        "temperature": call.temperature,
        "top_p": call.top_p,
        "stop": list(call.stop) or None,
        "seed": call.seed,
        "response_format": call.response_format,
        "tools": [_without_cache_control(tool) for tool in call.tools] or None,
        "tool_choice": call.tool_choice if call.tools else None,
        "user": call.user,
        # OpenAI takes metadata of what it is to store only.
        "metadata": call.metadata if params.get("store") else None,
    }
    return {
        "model": call.model,
        "messages": [_message(message) for message in call.messages],
        "max_completion_tokens": call.max_output_tokens,
        **{name: value for name, value in given.items() if value is not None},
        **params,
    }


def _message(message: Message) -> dict[str, Any]:
    """Return a message without what only Anthropic's API has."""
    wire: dict[str, Any] = msgspec.to_builtins(message)
    wire.pop("cache_control", None)
    if isinstance(message.content, tuple):
        wire["content"] = [_without_cache_control(part) for part in wire["content"]]
    if message.tool_calls:
        wire["tool_calls"] = [_without_cache_control(call) for call in wire["tool_calls"]]
    return wire


def _without_cache_control(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name != "cache_control"}

"""OpenAI Chat Completions, or whatever speaks it (vLLM, Azure, the simulator)."""

from typing import Any

import msgspec
import openai

from agents.providers.answers.chat_api import ChatApi
from agents.providers.openai.assembly import OpenAIAssembly
from agents.providers.provider import ProviderCall
from agents.providers.sdk_client import SdkClient
from streams.events import Message
from streams.models import ProviderName
from streams.request_rules.parameters import passed_on


def openai_client(*, api_key: str, base_url: str | None) -> SdkClient:
    """Return a client of OpenAI's SDK; OpenAI's own address where `base_url` is None."""
    options = {"security": {"bearer_auth": True}}
    return SdkClient(openai, openai.AsyncOpenAI, api_key=api_key, base_url=base_url, options=options)


class OpenAIChat(ChatApi):
    """OpenAI."""

    path = "/chat/completions"
    assembly = OpenAIAssembly

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        super().__init__(openai_client(api_key=api_key, base_url=base_url))

    def body(self, call: ProviderCall) -> dict[str, Any]:
        """Return the body of the request."""
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
            # OpenAI takes metadata only of what it is to store.
            "metadata": call.metadata if params.get("store") else None,
            "stream": call.stream or None,
            "stream_options": {"include_usage": True} if call.stream else None,
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

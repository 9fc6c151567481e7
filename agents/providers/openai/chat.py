"""OpenAI Chat Completions, or whatever speaks it (vLLM, Azure, the simulator).

Of an answer everything may be missing, and much may be of another shape, because those who speak OpenAI's
language leave things out and put others in. What cannot be understood is a fault: half an answer must not
look whole.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from agents.providers.answers import json_fields, tool_calls
from agents.providers.answers.body import Value
from agents.providers.answers.chat_api import Assembly, ChatApi
from agents.providers.answers.tool_calls import ToolPieces
from agents.providers.error_responses import error_in, fault_of_error
from agents.providers.faults import Malformed
from agents.providers.http_client import HttpClient
from agents.providers.provider import ProviderCall, ProviderEvent, UsageKnown
from agents.providers.usage import ReportedUsage
from streams.events import Message
from streams.model_catalogue import ProviderProtocol
from streams.request_rules.parameters import passed_on

_BASE_URL = "https://api.openai.com/v1"


def reported_usage(usage: object, service_tier: object) -> ReportedUsage | None:
    """Return the usage in our terms; None where the provider reports none."""
    if not isinstance(usage, dict) or usage.get("prompt_tokens") is None:
        return None
    prompt, output = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return ReportedUsage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage.get("completion_tokens"),
        cached_tokens=json_fields.field(prompt, "cached_tokens"),
        cache_write_tokens=json_fields.field(prompt, "cache_write_tokens"),
        reasoning_tokens=json_fields.field(output, "reasoning_tokens"),
        service_tier=service_tier,
    )


class OpenAIAssembly(Assembly):
    """Puts one answer together: its chunks, or the completion that it is; it is done with `[DONE]`."""

    finish_field = "finish_reason"

    def __init__(self, call: ProviderCall) -> None:
        super().__init__(call)
        self._tools = ToolPieces(self._calls)
        self._choice: int | None = None

    def _take(self, value: Value) -> Iterator[ProviderEvent]:
        chunk = value.json if isinstance(value.json, dict) else {}
        self.model = json_fields.short(chunk.get("model")) or self.model
        self._tier = chunk.get("service_tier") or self._tier
        error = error_in(value.json, named=value.name == "error")
        if error is None and not isinstance(value.json, dict):
            raise Malformed("the answer is JSON, but no object")
        ours = [] if error is not None else self._ours(chunk)
        error = error or next((choice["error"] for choice in ours if choice.get("error")), None)
        if error is not None:
            self._take_usage(chunk)
            raise fault_of_error(error)
        for choice in ours[:1] if value.whole else ours:
            yield from self._take_choice(choice, whole=value.whole)
        if usage := self._take_usage(chunk):
            yield usage

    def _ours(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the choices of a chunk that belong to the first answer; no call asks for others."""
        choices = json_fields.records(chunk.get("choices"), "choices")
        numbers = [json_fields.number(choice.get("index")) for choice in choices]
        placed = [place if number is None else number for place, number in enumerate(numbers)]
        self._choice = placed[0] if placed and self._choice is None else self._choice
        return [choice for number, choice in zip(placed, choices, strict=True) if number == self._choice]

    def _take_usage(self, chunk: dict[str, Any]) -> UsageKnown | None:
        reported = reported_usage(chunk.get("usage"), self._tier)
        return None if reported is None else self._add_usage(reported)

    def _take_choice(self, choice: dict[str, Any], *, whole: bool) -> Iterator[ProviderEvent]:
        said = choice.get("delta")
        if said is None and choice.get("message") is not None:
            yield from self._take_message(json_fields.record(choice["message"], "message"))
        elif said is not None or choice.get("text") is None:
            if whole and said is None:
                raise Malformed("the answer has a choice that says nothing")
            said = json_fields.record(said, "delta")
            self._take_tools(said)
            yield from self._add_text(json_fields.content(said.get("content")) or _refusal(said))
        else:  # as the older Completions have it
            yield from self._add_text(json_fields.text(choice["text"], "text"))
        self._add_finish_reason(json_fields.text(choice.get(self.finish_field), self.finish_field))

    def _take_message(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        """Take a whole message; in a stream it may come after pieces, and repeats them."""
        yield from self._add_text(
            self._text.rest_of(json_fields.content(message.get("content")) or _refusal(message))
        )
        if not self._calls:
            self._take_tools(message)

    def _take_tools(self, said: dict[str, Any]) -> None:
        for piece in json_fields.records(said.get("tool_calls"), "tool_calls"):
            self._text.count(tool_calls.piece_size(piece))
            self._tools.feed(piece)
            self.ended = False
        if said.get("function_call") is not None:  # as they were before there were tools
            self._tools.feed({"index": 0, "function": said["function_call"]})


def _refusal(said: dict[str, Any]) -> str:
    return json_fields.text(said.get("refusal"), "refusal")


def openai_client(*, api_key: str, base_url: str | None) -> HttpClient:
    """Return a client that sends the key, if there is one; to OpenAI's own address where none is given."""
    return HttpClient(base_url or _BASE_URL, {"Authorization": f"Bearer {api_key}"} if api_key else {})


class OpenAIChat(ChatApi):
    """OpenAI's adapter. A compatible API subclasses it, and gets a row in `agents.providers.adapters`."""

    path = "/chat/completions"
    assembly = OpenAIAssembly

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        super().__init__(openai_client(api_key=api_key, base_url=base_url))

    def body(self, call: ProviderCall) -> dict[str, Any]:
        """Return the body of the request."""
        params = passed_on(call.params, ProviderProtocol.OPENAI)
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

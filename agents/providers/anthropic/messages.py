"""Anthropic Messages, or whatever speaks it; a call in OpenAI's terms becomes the body of its request."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agents.providers.answers.chat_api import ChatApi
from agents.providers.anthropic.assembly import AnthropicAssembly
from agents.providers.faults import Refused
from agents.providers.http_client import HttpClient
from agents.providers.provider import ProviderCall
from streams.events import CacheControl, Message, TextPart
from streams.model_catalogue import ProviderProtocol
from streams.request_rules.chat import MAX_JSON_DEPTH, depth_exceeds
from streams.request_rules.parameters import passed_on

_BASE_URL = "https://api.anthropic.com"
# A later version, 2026-10-21, refuses temperature and top_p, which senders may set and the models in our
# catalogue take.
_API_VERSION = "2023-06-01"
_MAX_TEMPERATURE = 1.0  # OpenAI's scale goes to 2
_TOOL_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_INSTRUCTING = frozenset({"system", "developer"})

_Block = dict[str, Any]
_Turn = tuple[str, list[_Block]]


class AnthropicMessages(ChatApi):
    """Anthropic."""

    path = "/v1/messages"
    assembly = AnthropicAssembly

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        headers = {"anthropic-version": _API_VERSION} | ({"x-api-key": api_key} if api_key else {})
        super().__init__(HttpClient(base_url or _BASE_URL, headers))

    def body(self, call: ProviderCall) -> dict[str, Any]:
        """Return the body of the request."""
        return request_body(call)

    def headers(self, call: ProviderCall) -> Mapping[str, str]:
        """Return the beta features that the request asks for."""
        betas = call.params.get("betas")
        return {"anthropic-beta": ",".join(betas)} if betas else {}


def request_body(call: ProviderCall) -> dict[str, Any]:
    """Return the body of the request; `Refused` where it cannot be said in Anthropic's terms."""
    instructions, turns = _conversation(call)
    params = passed_on(call.params, ProviderProtocol.ANTHROPIC)
    given = {
        "system": instructions or None,
        "temperature": None if call.temperature is None else min(call.temperature, _MAX_TEMPERATURE),
        "top_p": call.top_p,
        "top_k": params.get("top_k"),
        "stop_sequences": list(call.stop) or None,
        "tools": [_tool(tool) for tool in call.tools] or None,
        "tool_choice": _tool_choice(call.tool_choice, params) if call.tools else None,
        "thinking": params.get("thinking"),
        "service_tier": params.get("service_tier"),
        "cache_control": params.get("cache_control"),
        "output_config": {"effort": params["reasoning_effort"]} if "reasoning_effort" in params else None,
        "metadata": {"user_id": call.user} if call.user else None,
        "stream": call.stream or None,
    }
    return {
        "model": call.model,
        "max_tokens": call.max_output_tokens,
        "messages": [{"role": role, "content": _content(content)} for role, content in turns],
        **{name: value for name, value in given.items() if value is not None},
    }


def _conversation(call: ProviderCall) -> tuple[str | list[_Block], list[_Turn]]:
    instructing = [message for message in call.messages if message.role in _INSTRUCTING]
    turns = _merged(
        _turn(message, index)
        for index, message in enumerate(call.messages)
        if message.role not in _INSTRUCTING
    )
    if not turns:  # a prompt of instructions alone: Anthropic needs somebody who speaks
        turns, instructing = [("user", [block for each in instructing for block in _texts(each)])], []
    wanted = _format_instructions(call.response_format)
    if any(isinstance(message.content, tuple) for message in instructing):
        return [block for each in instructing for block in _texts(each)] + [
            _text(words) for words in wanted
        ], turns
    return "\n\n".join([*(_said(each, each.text) for each in instructing if each.text), *wanted]), turns


def _turn(message: Message, index: int) -> _Turn:
    if message.role == "tool":
        return "user", [_tool_result(message)]
    content = _texts(message)
    for number, tool in enumerate(message.tool_calls or ()):
        content.append(_tool_use(tool, f"messages[{index}].tool_calls[{number}]"))
    return message.role, content


def _tool_result(message: Message) -> _Block:
    content: str | list[_Block] = message.text
    if isinstance(message.content, tuple) and any(part.cache_control for part in message.content):
        content = [_text(part.text, part.cache_control) for part in message.content if part.text]
    result = {"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": content}
    return result | _cached(message.cache_control)


def _texts(message: Message) -> list[_Block]:
    """Return the text of a message, part by part: what marks a part for the cache stays with it.

    Empty texts are refused, and say nothing.
    """
    parts = message.content if isinstance(message.content, tuple) else (TextPart(text=message.content or ""),)
    blocks = [_text(part.text, part.cache_control) for part in parts if part.text]
    if blocks:
        blocks[0]["text"] = _said(message, blocks[0]["text"])
    return blocks


def _said(message: Message, text: str) -> str:
    """Return a text with who says it: Anthropic's messages have no names."""
    return f"{message.name}: {text}" if message.name else text


def _merged(turns: Iterable[_Turn]) -> list[_Turn]:
    """Join turns of the same role: results of parallel tool calls must come in one turn."""
    merged: list[_Turn] = []
    for role, content in turns:
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(content)
        elif content:  # an empty turn is refused, and says nothing
            merged.append((role, list(content)))
    return merged


def _content(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return a lone text as it is, other content as blocks."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _text(text: str, control: CacheControl | None = None) -> _Block:
    return {"type": "text", "text": text, **_cached(control)}


def _cached(control: CacheControl | None) -> _Block:
    return {} if control is None else {"cache_control": msgspec.to_builtins(control)}


def _tool_use(tool: dict[str, Any], path: str) -> dict[str, Any]:
    function = tool.get("function", {})
    arguments = _arguments(function.get("arguments") or "{}", f"{path}.function.arguments")
    return {
        "type": "tool_use",
        "id": tool.get("id", ""),
        "name": function.get("name", ""),
        "input": arguments,
        **{name: value for name, value in tool.items() if name == "cache_control"},
    }


def _arguments(text: str, param: str) -> dict[str, Any]:
    """Return the arguments of a call as the object that Anthropic's API has in place of JSON in a text."""
    why = f"is nested deeper than {MAX_JSON_DEPTH} levels"
    try:
        arguments = msgspec.json.decode(text)
        if not isinstance(arguments, dict):
            why = "is not a JSON object, which Anthropic's models need"
        elif not depth_exceeds(arguments, MAX_JSON_DEPTH):
            return arguments
    except msgspec.DecodeError as fault:
        why = f"is not JSON: {fault}"
    except RecursionError:
        pass
    raise Refused(f"{param} {why}", code="invalid_value", param=param)


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function", {})
    given = {
        "description": function.get("description") or None,
        "strict": function.get("strict"),
        "cache_control": tool.get("cache_control"),
    }
    return {
        "name": function.get("name", ""),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        **{name: value for name, value in given.items() if value is not None},
    }


def _tool_choice(choice: str | dict[str, Any] | None, params: Mapping[str, Any]) -> _Block | None:
    parallel = params.get("parallel_tool_calls") is not False or choice == "none"
    alone = {} if parallel else {"disable_parallel_tool_use": True}
    if isinstance(choice, dict):
        return {"type": "tool", "name": choice.get("function", {}).get("name", ""), **alone}
    if choice or alone:
        return {**_TOOL_CHOICES[choice or "auto"], **alone}
    return None


def _format_instructions(response_format: dict[str, Any] | None) -> list[str]:
    """Return OpenAI's `response_format` in words, for models that know no such parameter."""
    kind = (response_format or {}).get("type")
    if response_format is None or kind not in {"json_object", "json_schema"}:
        return []
    words = "Answer with one JSON object and nothing else: no text around it, no code fence."
    schema = response_format.get("json_schema", {}).get("schema")
    if kind == "json_schema" and schema:
        words += f" It must conform to this JSON Schema:\n{msgspec.json.encode(schema).decode()}"
    return [words]

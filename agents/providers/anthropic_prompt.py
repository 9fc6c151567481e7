"""From a call in OpenAI's terms to the body of an Anthropic Messages request."""

from collections.abc import Iterable
from typing import Any

import msgspec

from agents.providers.faults import Refused
from agents.providers.port import ProviderCall
from streams.events import Message

_MAX_TEMPERATURE = 1.0  # OpenAI's scale goes to 2
_TOOL_CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_INSTRUCTING = frozenset({"system", "developer"})

_Turn = tuple[str, list[dict[str, Any]]]


def request_body(call: ProviderCall) -> dict[str, Any]:
    """Return the body of the request.

    Raises:
        Refused: the call cannot be said in Anthropic's terms.
    """
    instructions, turns = _conversation(call)
    given = {
        "system": instructions or None,
        "temperature": None if call.temperature is None else min(call.temperature, _MAX_TEMPERATURE),
        "top_p": call.top_p,
        # Anthropic refuses stop sequences of white space alone.
        "stop_sequences": [stop for stop in call.stop if stop.strip()] or None,
        "tools": [_tool(tool) for tool in call.tools] or None,
        "tool_choice": _tool_choice(call.tool_choice) if call.tools else None,
        "metadata": {"user_id": call.user} if call.user else None,
    }
    return {
        "model": call.model,
        "max_tokens": call.max_output_tokens,
        "messages": [{"role": role, "content": _content(content)} for role, content in turns],
        **{name: value for name, value in given.items() if value is not None},
    }


def _conversation(call: ProviderCall) -> tuple[str, list[_Turn]]:
    instructions = [message.text for message in call.messages if message.role in _INSTRUCTING]
    turns = _merged(
        _turn(message, index)
        for index, message in enumerate(call.messages)
        if message.role not in _INSTRUCTING
    )
    if not turns:  # a prompt of instructions alone: Anthropic needs somebody who speaks
        turns, instructions = [("user", [_text(text) for text in instructions if text])], []
    return "\n\n".join([*filter(None, instructions), *_format_instructions(call.response_format)]), turns


def _turn(message: Message, index: int) -> _Turn:
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": message.text}
        return "user", [result]
    content = [_text(message.text)] if message.text else []
    for number, tool in enumerate(message.tool_calls or ()):
        content.append(_tool_use(tool, f"messages[{index}].tool_calls[{number}]"))
    return message.role, content


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
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _tool_use(tool: dict[str, Any], path: str) -> dict[str, Any]:
    function = tool.get("function", {})
    try:
        arguments = msgspec.json.decode(function.get("arguments") or "{}")
    except msgspec.DecodeError as fault:
        param = f"{path}.function.arguments"
        raise Refused(f"{param} is not JSON: {fault}", code="invalid_value", param=param) from fault
    return {
        "type": "tool_use",
        "id": tool.get("id", ""),
        "name": function.get("name", ""),
        "input": arguments,
    }


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function", {})
    translated = {
        "name": function.get("name", ""),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        translated["description"] = function["description"]
    return translated


def _tool_choice(choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if isinstance(choice, dict):
        return {"type": "tool", "name": choice.get("function", {}).get("name", "")}
    return _TOOL_CHOICES.get(choice) if choice else None


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

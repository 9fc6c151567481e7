"""The rules for `messages` of a Chat Completions request: roles, parts, and tool calls with their answers."""

from collections.abc import Mapping
from typing import Any

from headrace.simulator import shapes
from headrace.simulator.refusals import Refusal
from headrace.simulator.shapes import Check, Misfit, Path

_text_part = shapes.record(
    {"type": shapes.choice("text"), "text": shapes.text(), "prompt_cache_breakpoint": shapes.anything},
    required=("type", "text"),
)
_call = shapes.record(
    {
        "id": shapes.text(),
        "type": shapes.choice("function"),
        "function": shapes.record(
            {"name": shapes.text(), "arguments": shapes.text()}, required=("name", "arguments")
        ),
    },
    required=("id", "type", "function"),
)
_USER_PARTS: Mapping[str, Check] = {
    "text": _text_part,
    "image_url": shapes.record({"image_url": shapes.mapping}, required=("image_url",), closed=False),
    "input_audio": shapes.record({"input_audio": shapes.mapping}, required=("input_audio",), closed=False),
    "file": shapes.record({"file": shapes.mapping}, required=("file",), closed=False),
}
_ASSISTANT_PARTS: Mapping[str, Check] = {
    "text": _text_part,
    "refusal": shapes.record({"refusal": shapes.text()}, required=("refusal",), closed=False),
}
_TEXT_PARTS: Mapping[str, Check] = {"text": _text_part}


def _content(parts: Mapping[str, Check]) -> Check:
    kind = shapes.choice(*parts)

    def part(value: Any, path: Path) -> None:
        shapes.mapping(value, path)
        if "type" not in value:
            raise Misfit((*path, "type"), "missing")
        kind(value["type"], (*path, "type"))
        parts[value["type"]](value, path)

    return shapes.either("a string or an array", str=shapes.text(), list=shapes.array(part, low=1))


_name = shapes.text(256)
_role = shapes.choice("system", "assistant", "user", "function", "tool", "developer")
_system = shapes.record(
    {"role": _role, "content": _content(_TEXT_PARTS), "name": _name}, required=("role", "content")
)
_BY_ROLE: Mapping[str, Check] = {
    "system": _system,
    "developer": _system,
    "user": shapes.record(
        {"role": _role, "content": _content(_USER_PARTS), "name": _name}, required=("role", "content")
    ),
    "assistant": shapes.record(
        {
            "role": _role,
            "content": _content(_ASSISTANT_PARTS),
            "name": _name,
            "refusal": shapes.text(),
            "audio": shapes.anything,
            "annotations": shapes.anything,
            "function_call": shapes.anything,
            "tool_calls": shapes.array(_call, low=1),
        },
        required=("role",),
    ),
    "tool": shapes.record(
        {"role": _role, "content": _content(_TEXT_PARTS), "tool_call_id": shapes.text(), "name": _name},
        required=("role", "content", "tool_call_id"),
    ),
    "function": shapes.record(
        {"role": _role, "content": shapes.text(), "name": _name}, required=("role", "content", "name")
    ),
}


def check_conversation(messages: list[dict[str, Any]]) -> None:
    """Check every message and that tool calls and tool messages belong together.

    Raises:
        Misfit: If a message is not as documented.
        Refusal: If a tool message answers nothing, or a tool call is not answered.
    """
    for index, message in enumerate(messages):
        path: Path = ("messages", index)
        if "role" not in message:
            raise Misfit((*path, "role"), "missing")
        _role(message["role"], (*path, "role"))
        _BY_ROLE[message["role"]](message, path)
        if message["role"] == "assistant" and not _says_something(message):
            raise Misfit((*path, "content"), "type", expected="a string", got="null")
    _check_tool_order(messages)


def _says_something(message: Mapping[str, Any]) -> bool:
    return any(message.get(name) is not None for name in ("content", "tool_calls", "refusal", "audio"))


def _check_tool_order(messages: list[dict[str, Any]]) -> None:
    waiting: list[str] = []
    asked_at = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise _unasked(index)
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            raise _unanswered(asked_at, waiting)
        if message["role"] == "assistant" and message.get("tool_calls"):
            waiting = [call["id"] for call in message["tool_calls"]]
            asked_at = index
    if waiting:
        raise _unanswered(asked_at, waiting)


def _unasked(index: int) -> Refusal:
    return Refusal(
        400,
        "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
        "'tool_calls'.",
        param=f"messages.[{index}].role",
    )


def _unanswered(index: int, waiting: list[str]) -> Refusal:
    return Refusal(
        400,
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(waiting)}",
        param=f"messages.[{index + 1}].role",
    )


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, its parts joined by line breaks."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")

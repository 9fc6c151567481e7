"""The rules for `messages` of a Chat Completions request that no type says: tool calls need their answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.simulator.error_reply import ErrorReply


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that assistants say something, and that tool calls and tool messages belong together.

    Raises:
        ErrorReply: If a tool message answers nothing, or a tool call is not answered.
    """
    waiting: list[str] = []
    asked_at = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise _unasked(index)
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        if message["role"] == "assistant":
            waiting, asked_at = [call["id"] for call in message.get("tool_calls") or ()], index
            if not waiting and message.get("content") is None and message.get("refusal") is None:
                param = f"messages[{index}].content"
                raise ErrorReply(400, f"{param}: must be a string", param=param, code="invalid_type")
    if waiting:
        raise _unanswered(asked_at, waiting)


def _unasked(index: int) -> ErrorReply:
    param = f"messages.[{index}].role"
    message = "a message with role 'tool' must be a response to a preceding message with 'tool_calls'"
    return ErrorReply(400, f"{param}: {message}", param=param)


def _unanswered(index: int, waiting: Sequence[str]) -> ErrorReply:
    param = f"messages.[{index + 1}].role"
    message = f"tool messages must follow that respond to each 'tool_call_id'; without: {', '.join(waiting)}"
    return ErrorReply(400, f"{param}: {message}", param=param)


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, its parts joined by line breaks."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")

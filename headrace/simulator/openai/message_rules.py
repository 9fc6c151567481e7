"""The rules for `messages` of a Chat Completions request that no type says: tool calls need their answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.simulator.error_reply import wrong_field


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that assistants say something, and that tool calls and tool messages belong together."""
    waiting: list[str] = []
    asked_at = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                reason = "a tool message must respond to a 'tool_calls' of the assistant message before it"
                raise wrong_field(f"messages.[{index}].role", reason)
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        if message["role"] == "assistant":
            waiting, asked_at = [call["id"] for call in message.get("tool_calls") or ()], index
            if not waiting and message.get("content") is None and message.get("refusal") is None:
                raise wrong_field(f"messages[{index}].content", "must be a string", "invalid_type")
    if waiting:
        reason = f"tool messages must follow for each 'tool_call_id'; there are none for {', '.join(waiting)}"
        raise wrong_field(f"messages.[{asked_at + 1}].role", reason)


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, its parts joined by line breaks."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")

"""The rules for `messages` of a Messages request that no type says: turns, and tool uses with their results.

The API joins consecutive turns of one role, so roles need not alternate; the first turn must be the user's.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from headrace.simulator.error_reply import ErrorReply
from headrace.simulator.generation.task_rules import check_name

_MAX_ID_CHARS = 256


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that turns say something, begin with the user's, and that tool uses have their results."""
    for index, message in enumerate(messages):
        is_prefill = index == len(messages) - 1 and message["role"] == "assistant"
        if message["role"] not in {"user", "assistant"}:
            raise ErrorReply(400, f'messages[{index}].role: unexpected role "{message["role"]}"')
        _check_content(message, index, is_prefill=is_prefill)
    if messages[0]["role"] != "user":
        raise ErrorReply(400, 'messages: first message must use the "user" role')
    _check_tool_turns(messages)


def _check_content(message: Mapping[str, Any], index: int, *, is_prefill: bool) -> None:
    if is_prefill:
        text = text_of(message) or ""
        if text != text.rstrip():
            raise ErrorReply(400, "messages: final assistant content cannot end with trailing whitespace")
        return
    if not message["content"]:
        raise ErrorReply(400, f"messages[{index}]: all messages must have non-empty content")
    for block in blocks_of(message):
        if block["type"] == "text" and not block["text"]:
            raise ErrorReply(400, f"messages[{index}]: text content blocks must be non-empty")


def _check_tool_turns(messages: Sequence[Mapping[str, Any]]) -> None:
    asked: list[str] = []
    for role, group in groupby(messages, key=lambda message: message["role"]):
        blocks = [block for message in group for block in blocks_of(message)]
        if role == "assistant":
            asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
            for use in asked:
                check_name(use, "tool_use.id", _MAX_ID_CHARS)
            continue
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if unasked := [each for each in results if each not in asked]:
            raise ErrorReply(
                400,
                f"messages: unexpected `tool_use_id` in `tool_result` blocks: {unasked[0]}; its `tool_use` "
                "block must be in the message before",
            )
        asked = [each for each in asked if each not in results]
        if asked:
            break
    if asked:
        raise ErrorReply(
            400,
            f"messages: `tool_use` ids without `tool_result` blocks immediately after: {', '.join(asked)}",
        )


def blocks_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the content blocks of a message; a text is one block."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def prompt_texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the text of each message: its text blocks and tool results."""
    return ["\n".join(filter(None, map(_text_in, blocks_of(message)))) for message in messages]


def _text_in(block: Mapping[str, Any]) -> str:
    if block["type"] == "tool_result":
        return _result_text(block)
    return str(block["text"]) if block["type"] == "text" else ""


def _result_text(block: Mapping[str, Any]) -> str:
    content = block.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def results_at_end(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the tool results in the last message, if it has any."""
    return tuple(_result_text(block) for block in blocks_of(messages[-1]) if block["type"] == "tool_result")


def text_of(message: Mapping[str, Any]) -> str | None:
    """Return the text of a message that is one text, or None where it is more than that."""
    blocks = blocks_of(message)
    return str(blocks[0]["text"]) if len(blocks) == 1 and blocks[0]["type"] == "text" else None

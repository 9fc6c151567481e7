"""The rules for `messages` of a Messages request: turns, content blocks, and tool uses with their results.

The API joins consecutive turns of one role, so roles need not alternate; the first turn must be the user's.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from headrace.simulator import shapes
from headrace.simulator.refusals import Refusal
from headrace.simulator.shapes import Check, Misfit, Path

_text = shapes.record(
    {
        "type": shapes.choice("text"),
        "text": shapes.text(),
        "cache_control": shapes.mapping,
        "citations": shapes.anything,
    },
    required=("type", "text"),
)
_source = shapes.record({"source": shapes.mapping}, required=("source",), closed=False)
_tool_use = shapes.record(
    {"id": shapes.named(256), "name": shapes.named(200), "input": shapes.mapping},
    required=("id", "name", "input"),
    closed=False,
)
_tool_result = shapes.record(
    {
        "type": shapes.choice("tool_result"),
        "tool_use_id": shapes.named(256),
        "is_error": shapes.boolean,
        "cache_control": shapes.mapping,
        "content": shapes.either(
            "a string or an array",
            str=shapes.text(),
            list=shapes.array(
                shapes.record(
                    {"type": shapes.choice("text", "image", "document")}, required=("type",), closed=False
                )
            ),
        ),
    },
    required=("tool_use_id",),
)
_USER_BLOCKS: Mapping[str, Check] = {
    "text": _text,
    "image": _source,
    "document": _source,
    "tool_result": _tool_result,
}
_ASSISTANT_BLOCKS: Mapping[str, Check] = {"text": _text, "tool_use": _tool_use}


def _content(blocks: Mapping[str, Check]) -> Check:
    kind = shapes.choice(*blocks)

    def block(value: Any, path: Path) -> None:
        shapes.mapping(value, path)
        if "type" not in value:
            raise Misfit((*path, "type"), "missing")
        kind(value["type"], (*path, "type"))
        blocks[value["type"]](value, (*path, value["type"]))

    return shapes.either("a valid string or array", str=shapes.text(), list=shapes.array(block))


_ROLES = shapes.choice("user", "assistant")
_BY_ROLE = {
    role: shapes.record({"role": _ROLES, "content": _content(blocks)}, required=("role", "content"))
    for role, blocks in (("user", _USER_BLOCKS), ("assistant", _ASSISTANT_BLOCKS))
}


def check_conversation(messages: list[dict[str, Any]], *, citable: bool = False) -> None:
    """Check every message, and that tool uses and results belong together.

    Users' texts may carry citations where `citable`: API versions before 2026-10-21.

    Raises:
        Misfit: If a message is not as documented.
        Refusal: If turns are empty or out of order.
    """
    for index, message in enumerate(messages):
        path: Path = ("messages", index)
        if "role" not in message:
            raise Misfit((*path, "role"), "missing")
        if message["role"] == "system":
            raise Refusal(
                400,
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
                'parameter, not "system" as an input message role.',
            )
        _ROLES(message["role"], (*path, "role"))
        _BY_ROLE[message["role"]](message, path)
        if message["role"] == "user" and not citable:
            _check_citations(message, index)
        _check_content(message, index, last=index == len(messages) - 1)
    if messages[0]["role"] != "user":
        raise Refusal(400, 'messages: first message must use the "user" role')
    _check_tool_turns(messages)


def _check_content(message: Mapping[str, Any], index: int, *, last: bool) -> None:
    prefill = last and message["role"] == "assistant"
    if not message["content"] and not prefill:
        raise Refusal(
            400,
            f"messages.{index}: all messages must have non-empty content except for the optional final "
            "assistant message",
        )
    for block in _blocks(message):
        if block["type"] == "text" and not block["text"] and not prefill:
            raise Refusal(400, "messages: text content blocks must be non-empty")
    ending = (_blocks(message) or [{"type": ""}])[-1]
    if prefill and ending["type"] == "text" and ending["text"] != ending["text"].rstrip():
        raise Refusal(400, "messages: final assistant content cannot end with trailing whitespace")


def _check_citations(message: Mapping[str, Any], index: int) -> None:
    for number, block in enumerate(_blocks(message)):
        if block.get("citations"):
            raise Refusal(
                400, f"messages.{index}.content.{number}.text.citations: must be empty in user messages"
            )


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_tool_turns(messages: list[dict[str, Any]]) -> None:
    asked: list[str] = []
    turns = [
        (role, [block for message in group for block in _blocks(message)])
        for role, group in groupby(messages, key=lambda message: message["role"])
    ]
    for number, (role, blocks) in enumerate(turns):
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if role == "assistant":
            asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
            if asked and number == len(turns) - 1:
                raise _unanswered(number, asked)
            continue
        for result in results:
            if result not in asked:
                raise Refusal(
                    400,
                    f"messages.{number}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{result}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                    "previous message.",
                )
        missing = [call for call in asked if call not in results]
        if missing:
            raise _unanswered(number - 1, missing)
        asked = []


def _unanswered(number: int, ids: list[str]) -> Refusal:
    return Refusal(
        400,
        f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
        "message.",
    )


def prompt_texts(messages: list[dict[str, Any]]) -> list[str]:
    """Return the text of each message: its text blocks and tool results."""
    return ["\n".join(filter(None, map(_text_in, _blocks(message)))) for message in messages]


def _text_in(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "text":
            return str(block["text"])
        case "tool_result":
            return _result_text(block)
        case _:
            return ""


def _result_text(block: Mapping[str, Any]) -> str:
    content = block.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def results_at_end(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the tool results in the last message, if it has any."""
    return tuple(_result_text(block) for block in _blocks(messages[-1]) if block["type"] == "tool_result")


def text_of(message: Mapping[str, Any]) -> str | None:
    """Return the text of a message that is one text, or none where it is more than that."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return str(content[0]["text"]) if len(content) == 1 and content[0]["type"] == "text" else None

"""From the body of Anthropic's Messages to the request that the pipeline knows, in OpenAI's terms."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from ingest.anthropic_schemas import (
    Block,
    MessagesBody,
    OutputConfig,
    TextBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    decode_tool,
    unsupported,
)
from ingest.body import too_deep
from ingest.errors import invalid
from ingest.schemas import DEFAULT_USER
from streams.events import ChatRequested, Message, TextPart
from streams.request_rules import MAX_CONTENT_CHARS, MAX_JSON_DEPTH, MAX_MESSAGES, depth_exceeds

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
#: OpenAI's results have no mark of failure; the model reads it.
_FAILED = "Error: "


def messages_request(
    body: MessagesBody, *, user_header: str | None, deadline_ms: int | None
) -> ChatRequested:
    """Return the event for a Messages body.

    Args:
        body: what the client sent.
        user_header: the header `X-Headrace-User`; it goes before `metadata.user_id`.
        deadline_ms: how long the answer may take.

    Raises:
        ApiError: 400, something that is not supported, or that does not fit together.
    """
    tools = tuple(_tool(raw, f"tools[{index}]") for index, raw in enumerate(body.tools or ()))
    return ChatRequested(
        user_id=user_header or (body.metadata and body.metadata.user_id) or DEFAULT_USER,
        messages=_conversation(body),
        model=body.model,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=body.stop_sequences or None,
        tools=tools or None,
        tool_choice=_tool_choice(body.tool_choice, tools),
        response_format=_response_format(body.output_config),
        stream=bool(body.stream),
        deadline_ms=deadline_ms,
        headrace_cache=body.headrace_cache,
    )


def _conversation(body: MessagesBody) -> tuple[Message, ...]:
    messages = []
    if body.system:
        messages.append(Message(role="system", content=_content(body.system, "system")))
    for index, turn in enumerate(body.messages):
        messages += _turn(turn, f"messages[{index}]")
    last = len(body.messages) - 1
    if body.messages[last].role == "assistant":
        raise unsupported(
            f"messages[{last}]", "the last message must be the user's: a prefilled answer is not supported"
        )
    if len(messages) > MAX_MESSAGES:
        raise invalid(
            f"messages must be at most {MAX_MESSAGES}, where system and each tool_result count as one each",
            param="messages",
        )
    return tuple(messages)


def _turn(turn: Turn, where: str) -> Iterator[Message]:
    if not turn.content:
        raise invalid(f"{where}.content must not be empty", param=f"{where}.content")
    if isinstance(turn.content, str):
        yield Message(role=turn.role, content=turn.content)
    elif turn.role == "user":
        yield from _user_messages(turn.content, where)
    else:
        yield _assistant_message(turn.content, where)


def _user_messages(blocks: Sequence[Block], where: str) -> Iterator[Message]:
    """Each result is a message of its own, and so is the text between them."""
    if any(isinstance(block, ToolUseBlock) for block in blocks):
        raise invalid(f"{where}: tool_use belongs to the assistant", param=f"{where}.content")
    for _, run in groupby(blocks, type):
        same = list(run)
        if texts := [block for block in same if isinstance(block, TextBlock)]:
            yield Message(role="user", content=_content(texts, f"{where}.content"))
        for block in same:
            if isinstance(block, ToolResultBlock):
                yield _tool_result(block, f"{where}.content")


def _tool_result(block: ToolResultBlock, where: str) -> Message:
    content = _content(block.content or "", where)
    message = Message(role="tool", content=content, tool_call_id=block.tool_use_id)
    return message.with_text(_FAILED + message.text) if block.is_error else message


def _assistant_message(blocks: Sequence[Block], where: str) -> Message:
    if any(isinstance(block, ToolResultBlock) for block in blocks):
        raise invalid(f"{where}: tool_result belongs to the user", param=f"{where}.content")
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    calls = [_tool_call(block, where) for block in blocks if isinstance(block, ToolUseBlock)]
    return Message(
        role="assistant",
        content=_content(texts, f"{where}.content") if texts else None,
        tool_calls=tuple(calls) or None,
    )


def _tool_call(block: ToolUseBlock, where: str) -> dict[str, Any]:
    if depth_exceeds(block.input, MAX_JSON_DEPTH):
        raise too_deep(f"{where}.content")
    arguments = msgspec.json.encode(block.input).decode()
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _content(content: str | Sequence[TextBlock], where: str) -> str | tuple[TextPart, ...]:
    if isinstance(content, str):
        return content
    # Joined by line breaks, as the pipeline reads them.
    chars = sum(len(block.text) + 1 for block in content) - 1
    if chars > MAX_CONTENT_CHARS:
        raise invalid(
            f"{where} has {chars} characters; at most {MAX_CONTENT_CHARS} are allowed in one message",
            param=where,
        )
    if len(content) == 1:
        return content[0].text
    return tuple(TextPart(text=block.text) for block in content)


def _tool(raw: dict[str, Any], where: str) -> dict[str, Any]:
    tool = decode_tool(raw, where)
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None, tools: Sequence[dict[str, Any]]) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    if choice.disable_parallel_tool_use and tools:
        raise unsupported(
            "tool_choice.disable_parallel_tool_use", "parallel tool calls cannot be switched off"
        )
    if choice.type != "tool":
        return _TOOL_CHOICES[choice.type]
    if choice.name not in [tool["function"]["name"] for tool in tools]:
        raise invalid("tool_choice.name must be the name of one of the tools", param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(wanted: OutputConfig | None) -> dict[str, Any] | None:
    if wanted is None or wanted.format is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted.format.schema}}

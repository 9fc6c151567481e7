"""Translates the body of Anthropic's Messages into the request that the pipeline knows, in OpenAI's terms."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from ingest.anthropic.schema import (
    Block,
    CustomTool,
    MessagesBody,
    OutputConfig,
    TextBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from ingest.errors import as_api_error
from ingest.submit.http_message import too_deep
from streams.errors import InvalidRequest
from streams.events import CacheControl, ChatRequested, Message, TextPart
from streams.request_rules.chat import MAX_CONTENT_CHARS, MAX_JSON_DEPTH, MAX_MESSAGES, depth_exceeds
from streams.request_rules.faults import UNSUPPORTED, check_at_most
from streams.request_rules.parameters import Parameters, params_of
from streams.serving.api_keys import DEFAULT_USER
from streams.serving.responses import ApiError

#: The path of a message in a request, and the names of fields in Anthropic's API.
_MESSAGE_PATH = re.compile(r"messages\[(\d+)\]")
_SPELLED = {
    "stop": "stop_sequences",
    ".function.": ".",
    "reasoning_effort": "output_config.effort",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format.json_schema": "output_config.format",
    "response_format": "output_config.format",
}
_SPELLINGS = re.compile("|".join(re.escape(name) for name in _SPELLED))
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
#: OpenAI's tool results have no field for failure, so that the model reads it in the text.
_FAILED = "Error: "


def messages_request(
    body: MessagesBody, *, user_header: str | None, deadline_ms: int | None, betas: tuple[str, ...] = ()
) -> tuple[ChatRequested, tuple[str, ...]]:
    """Return the event for a Messages body, and the path in the body that each of its messages comes from.

    The header `X-Headrace-User` goes before `metadata.user_id`; `betas` are those of the header
    `anthropic-beta`. Raises `InvalidRequest` for what is not supported, or does not fit.
    """
    tools = tuple(_tool(tool) for tool in body.tools or ())
    conversation = list(_conversation(body))
    request = ChatRequested(
        user_id=user_header or (body.metadata and body.metadata.user_id) or DEFAULT_USER,
        messages=tuple(message for _, message in conversation),
        model=body.model,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=body.stop_sequences or None,
        tools=tools or None,
        tool_choice=_tool_choice(body.tool_choice, tools),
        params=_params(body, betas),
        response_format=_response_format(body.output_config),
        stream=bool(body.stream),
        deadline_ms=deadline_ms,
        headrace_cache=body.headrace_cache,
    )
    return request, tuple(where for where, _ in conversation)


def as_sent(fault: ApiError | InvalidRequest, origins: Sequence[str]) -> ApiError:
    """Return a fault of the translated request, with the names and paths of the body that was sent."""
    error = as_api_error(fault)
    param = error.error.param or ""
    path = _MESSAGE_PATH.match(param)
    if path and int(path[1]) < len(origins):
        spelled = origins[int(path[1])] + param[path.end() :]
    else:
        spelled = _SPELLINGS.sub(lambda found: _SPELLED[found[0]], param)
    message = error.error.message.replace(param, spelled) if param else error.error.message
    info = msgspec.structs.replace(error.error, param=spelled or None, message=message)
    return ApiError(error.status, info, headers=error.headers)


def _params(body: MessagesBody, betas: tuple[str, ...]) -> dict[str, Any] | None:
    choice, config = body.tool_choice, body.output_config
    given = Parameters(
        service_tier=body.service_tier,
        cache_control=body.cache_control,
        thinking=body.thinking,
        top_k=body.top_k,
        betas=(*(body.betas or ()), *betas) or None,
        reasoning_effort=config.effort if config else None,
        parallel_tool_calls=False if choice and choice.disable_parallel_tool_use and body.tools else None,
    )
    return params_of(given)


def _conversation(body: MessagesBody) -> Sequence[tuple[str, Message]]:
    messages: list[tuple[str, Message]] = []
    if body.system:
        messages.append(("system", Message(role="system", content=_content(body.system, "system"))))
    for index, turn in enumerate(body.messages):
        where = f"messages[{index}]"
        messages += [(where, message) for message in _turn(turn, where)]
    last = len(body.messages) - 1
    if body.messages[last].role == "assistant":
        words = "the last message must be the user's: a prefilled answer is not supported"
        raise InvalidRequest(words, code=UNSUPPORTED, param=f"messages[{last}]")
    if len(messages) > MAX_MESSAGES:
        words = f"messages: at most {MAX_MESSAGES} are allowed, got {len(messages)}"
        raise InvalidRequest(f"{words}: system and each tool_result count as one each", param="messages")
    return messages


def _turn(turn: Turn, where: str) -> Iterator[Message]:
    if not turn.content:
        raise InvalidRequest(f"{where}.content must not be empty", param=f"{where}.content")
    if isinstance(turn.content, str):
        yield Message(role=turn.role, content=turn.content)
    elif turn.role == "user":
        yield from _user_messages(turn.content, where)
    else:
        yield _assistant_message(turn.content, where)


def _user_messages(blocks: Sequence[Block], where: str) -> Iterator[Message]:
    """Each result is a message of its own, and so is the text between them."""
    if any(isinstance(block, ToolUseBlock) for block in blocks):
        raise InvalidRequest(f"{where}: tool_use belongs to the assistant", param=f"{where}.content")
    for _, run in groupby(blocks, type):
        same = list(run)
        if texts := [block for block in same if isinstance(block, TextBlock)]:
            yield Message(role="user", content=_content(texts, f"{where}.content"))
        for block in same:
            if isinstance(block, ToolResultBlock):
                yield _tool_result(block, f"{where}.content")


def _tool_result(block: ToolResultBlock, where: str) -> Message:
    content = _content(block.content or "", where)
    if block.is_error:
        content = _FAILED + content if isinstance(content, str) else (TextPart(text=_FAILED), *content)
    return Message(
        role="tool", content=content, tool_call_id=block.tool_use_id, cache_control=block.cache_control
    )


def _assistant_message(blocks: Sequence[Block], where: str) -> Message:
    if any(isinstance(block, ToolResultBlock) for block in blocks):
        raise InvalidRequest(f"{where}: tool_result belongs to the user", param=f"{where}.content")
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
    function = {"name": block.name, "arguments": msgspec.json.encode(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function, **_cached(block.cache_control)}


def _cached(control: CacheControl | None) -> dict[str, Any]:
    return {} if control is None else {"cache_control": msgspec.to_builtins(control)}


def _content(content: str | Sequence[TextBlock], where: str) -> str | tuple[TextPart, ...]:
    if isinstance(content, str):
        return content
    # The pipeline joins them by line breaks.
    chars = sum(len(block.text) + 1 for block in content) - 1
    check_at_most(chars, MAX_CONTENT_CHARS, where, " characters")
    if len(content) == 1 and content[0].cache_control is None:
        return content[0].text
    return tuple(TextPart(text=block.text, cache_control=block.cache_control) for block in content)


def _tool(tool: CustomTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function, **_cached(tool.cache_control)}


def _tool_choice(choice: ToolChoice | None, tools: Sequence[dict[str, Any]]) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    if choice.type != "tool":
        return _TOOL_CHOICES[choice.type]
    if choice.name not in [tool["function"]["name"] for tool in tools]:
        words = "tool_choice.name must be the name of one of the tools"
        raise InvalidRequest(words, param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(wanted: OutputConfig | None) -> dict[str, Any] | None:
    if wanted is None or wanted.format is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted.format.schema}}

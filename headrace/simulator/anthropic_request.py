"""Reads a Messages request as strictly as the Anthropic API does.

The SDK's own type says what the endpoint takes; the limits here are those that the type does not say.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import msgspec

from headrace.simulator import chat_task
from headrace.simulator.invoice import charge_usd
from headrace.simulator.request_validation import ErrorReply, Limits, RequestType, load_types
from headrace.simulator.schema_values import UnsupportedSchema, check_schema
from streams.model_catalogue import ProviderProtocol, count_messages

_IDENTITY = ("model", "system", "messages", "tools", "tool_choice", "output_config")
_MAX_NAME_CHARS = 128
_ASKS_FOR_JSON = re.compile(r"\b(?:one|a|as|only|valid) JSON(?: object)?\b", re.IGNORECASE)
_GIVES_SCHEMA = re.compile(r"\bJSON Schema:?\s*(?=\{)", re.IGNORECASE)
_MAX_ID_CHARS = 256
_LIMITS: Limits = {"max_tokens": {"ge": 1}, "messages": {"min_length": 1}}
_SAMPLING_LIMITS: Limits = {
    "temperature": {"ge": 0.0, "le": 1.0},
    "top_k": {"ge": 0},
    "top_p": {"ge": 0.0, "le": 1.0},
}


def _load_types() -> Mapping[str, RequestType]:
    from anthropic.types.message_create_params import MessageCreateParamsBase  # noqa: PLC0415

    class MessageBody(MessageCreateParamsBase, total=False):
        stream: bool

    class SampledMessageBody(MessageBody, total=False):
        temperature: float
        top_k: int
        top_p: float

    return {
        # The SDK's type is that of the latest API version, which has no sampling parameters.
        "2026-10-21": RequestType(MessageBody, _LIMITS),
        "2023-06-01": RequestType(SampledMessageBody, {**_LIMITS, **_SAMPLING_LIMITS}),
    }


_TYPE_OF_VERSION = load_types(_load_types, "anthropic", "anthropic.types")


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that turns say something and begin with the user's (roles need not alternate); tool results."""
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
        text = _text_of(message) or ""
        if text != text.rstrip():
            raise ErrorReply(400, "messages: final assistant content cannot end with trailing whitespace")
        return
    if not message["content"]:
        raise ErrorReply(400, f"messages[{index}]: all messages must have non-empty content")
    for block in _blocks_of(message):
        if block["type"] == "text" and not block["text"]:
            raise ErrorReply(400, f"messages[{index}]: text content blocks must be non-empty")


def _check_tool_turns(messages: Sequence[Mapping[str, Any]]) -> None:
    asked: list[str] = []
    for role, group in groupby(messages, key=lambda message: message["role"]):
        blocks = [block for message in group for block in _blocks_of(message)]
        if role == "assistant":
            asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
            for use in asked:
                chat_task.check_name(use, "tool_use.id", _MAX_ID_CHARS)
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


def _blocks_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text_in(block: Mapping[str, Any]) -> str:
    if block["type"] == "tool_result":
        return _result_text(block)
    return str(block["text"]) if block["type"] == "text" else ""


def _result_text(block: Mapping[str, Any]) -> str:
    content = block.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _text_of(message: Mapping[str, Any]) -> str | None:
    """Return the text of a message that is one text, or None where it is more than that."""
    blocks = _blocks_of(message)
    return str(blocks[0]["text"]) if len(blocks) == 1 and blocks[0]["type"] == "text" else None


def read_message_request(body: Any, headers: Mapping[str, str]) -> chat_task.ChatTask:
    """Turn a decoded body into a task, by the rules of the API version in the headers."""
    version = headers.get("anthropic-version", "")
    if version not in _TYPE_OF_VERSION:
        raise ErrorReply(400, f'anthropic-version: "{version}" is not one of {", ".join(_TYPE_OF_VERSION)}')
    _TYPE_OF_VERSION[version].check(body)
    model = chat_task.served_model(ProviderProtocol.ANTHROPIC, body["model"])
    messages: list[dict[str, Any]] = body["messages"]
    _check_messages(messages)
    stops: list[str] = body.get("stop_sequences") or []
    if not all(stop.strip() for stop in stops):
        raise ErrorReply(400, "stop_sequences: each stop sequence must contain non-whitespace")
    if (body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}:
        raise ErrorReply(400, "thinking: the simulator's models do not support thinking")
    system = _system_text(body)
    input_tokens = _input_tokens(body, system)
    chat_task.check_lengths(model, input_tokens, body["max_tokens"])
    texts = ["\n".join(filter(None, map(_text_in, _blocks_of(message)))) for message in messages]
    users = [text for turn, text in zip(messages, texts, strict=True) if turn["role"] == "user" and text]
    last = _blocks_of(messages[-1])
    return chat_task.ChatTask(
        model=model.name,
        charge_usd=partial(charge_usd, model),
        prompt="\n".join((system, *texts)),
        question=users[-1] if users else texts[-1],
        tool_results=tuple(_result_text(block) for block in last if block["type"] == "tool_result"),
        identity=msgspec.json.encode([body.get(name) for name in _IDENTITY]),
        tool_use=_tool_use(body),
        form=_output_form(body, system),
        stop=tuple(stops),
        max_output_tokens=body["max_tokens"],
        input_tokens=input_tokens,
        stream=bool(body.get("stream")),
    )


def _system_text(body: Mapping[str, Any]) -> str:
    system = body.get("system") or ""
    if isinstance(system, str):
        return system
    if not all(block["text"] for block in system):
        raise ErrorReply(400, "system: text content blocks must be non-empty")
    return "\n".join(block["text"] for block in system)


def _input_tokens(body: Mapping[str, Any], system: str) -> int:
    counted = [{"role": "system", "content": system}] if system else []
    for message in body["messages"]:
        # A list of one text block is the same request as its text.
        plain = _text_of(message)
        counted.append({"role": message["role"], "content": message["content"] if plain is None else plain})
    return count_messages(counted) + chat_task.count_tools(body.get("tools"))


def _tool_use(body: Mapping[str, Any]) -> chat_task.ToolUse:
    listed = body.get("tools") or []
    if not all("input_schema" in tool for tool in listed):
        raise ErrorReply(400, "tools: the simulator supports custom tools alone")
    tools = chat_task.offered_tools(listed, "input_schema", "tools[{}]", _MAX_NAME_CHARS)
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    if kind in {"any", "tool"} and not tools:
        raise ErrorReply(400, "tool_choice: may only be specified while providing tools")
    only = choice["name"] if kind == "tool" else None
    chat_task.check_chosen(only, tools)
    mode = {"any": chat_task.ToolMode.ANY, "none": chat_task.ToolMode.NONE}.get(kind, chat_task.ToolMode.AUTO)
    return chat_task.ToolUse(
        tools=tools, mode=mode, only=only, parallel=not choice.get("disable_parallel_tool_use")
    )


def _output_form(body: Mapping[str, Any], system: str) -> chat_task.OutputForm:
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return _prompted_form(system)
    return chat_task.OutputForm(json=True, schema=wanted["schema"])


def _prompted_form(system: str) -> chat_task.OutputForm:
    """Return the form that a system prompt asks for: JSON, after the schema that it quotes, or text."""
    if not _ASKS_FOR_JSON.search(system):
        return chat_task.OutputForm()
    quoted = _GIVES_SCHEMA.search(system)
    if quoted is not None:
        try:
            schema, _ = json.JSONDecoder().raw_decode(system, quoted.end())
            check_schema(schema)
        except (json.JSONDecodeError, UnsupportedSchema, RecursionError):
            pass  # the model does what it can
        else:
            return chat_task.OutputForm(json=True, schema=schema)
    return chat_task.OutputForm(json=True)

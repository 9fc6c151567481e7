"""Reads a Messages request as strictly as the Anthropic API does."""

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from headrace.simulator.anthropic.message_rules import (
    check_messages,
    prompt_texts,
    results_at_end,
    text_of,
)
from headrace.simulator.anthropic.request_types import MESSAGE_BY_VERSION
from headrace.simulator.billing.charges import charge_usd
from headrace.simulator.error_reply import ErrorReply
from headrace.simulator.generation.chat_task import (
    ChatTask,
    OutputForm,
    ToolMode,
    ToolUse,
)
from headrace.simulator.generation.schema_values import UnsupportedSchema, check_schema
from headrace.simulator.generation.task_rules import (
    check_chosen,
    check_lengths,
    count_tools,
    offered_tools,
    served_model,
)
from headrace.simulator.provider_api import RequestHeaders
from streams.models import ProviderName
from streams.tokens import count_messages

_IDENTITY = ("model", "system", "messages", "tools", "tool_choice", "output_config")
_MAX_NAME_CHARS = 128
_ASKS_FOR_JSON = re.compile(r"\b(?:one|a|as|only|valid) JSON(?: object)?\b", re.IGNORECASE)
_GIVES_SCHEMA = re.compile(r"\bJSON Schema:?\s*(?=\{)", re.IGNORECASE)


def read_message_request(body: Any, headers: RequestHeaders) -> ChatTask:
    """Turn a decoded body into a task, by the rules of the API version in the headers."""
    version = headers.get("anthropic-version", "")
    if version not in MESSAGE_BY_VERSION:
        raise ErrorReply(400, f'anthropic-version: "{version}" is not one of {", ".join(MESSAGE_BY_VERSION)}')
    MESSAGE_BY_VERSION[version].check(body)
    model = served_model(ProviderName.ANTHROPIC, body["model"])
    messages: list[dict[str, Any]] = body["messages"]
    check_messages(messages)
    stops: list[str] = body.get("stop_sequences") or []
    if not all(stop.strip() for stop in stops):
        raise ErrorReply(400, "stop_sequences: each stop sequence must contain non-whitespace")
    if (body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}:
        raise ErrorReply(400, "thinking: the simulator's models do not support thinking")
    system = _system_text(body)
    input_tokens = _input_tokens(body, system)
    check_lengths(model, input_tokens, body["max_tokens"])
    texts = prompt_texts(messages)
    users = [text for turn, text in zip(messages, texts, strict=True) if turn["role"] == "user" and text]
    return ChatTask(
        model=model.name,
        charge_usd=partial(charge_usd, model),
        prompt="\n".join((system, *texts)),
        question=users[-1] if users else texts[-1],
        tool_results=results_at_end(messages),
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
        plain = text_of(message)
        counted.append({"role": message["role"], "content": message["content"] if plain is None else plain})
    return count_messages(counted) + count_tools(body.get("tools"))


def _tool_use(body: Mapping[str, Any]) -> ToolUse:
    listed = body.get("tools") or []
    if not all("input_schema" in tool for tool in listed):
        raise ErrorReply(400, "tools: the simulator supports custom tools alone")
    tools = offered_tools(listed, "input_schema", "tools[{}]", _MAX_NAME_CHARS)
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    if kind in {"any", "tool"} and not tools:
        raise ErrorReply(400, "tool_choice: may only be specified while providing tools")
    only = choice["name"] if kind == "tool" else None
    check_chosen(only, tools)
    mode = {"any": ToolMode.ANY, "none": ToolMode.NONE}.get(kind, ToolMode.AUTO)
    return ToolUse(tools=tools, mode=mode, only=only, parallel=not choice.get("disable_parallel_tool_use"))


def _output_form(body: Mapping[str, Any], system: str) -> OutputForm:
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return _prompted_form(system)
    return OutputForm(json=True, schema=wanted["schema"])


def _prompted_form(system: str) -> OutputForm:
    """Return the form that a system prompt asks for: JSON, after the schema that it quotes, or text."""
    if not _ASKS_FOR_JSON.search(system):
        return OutputForm()
    quoted = _GIVES_SCHEMA.search(system)
    if quoted is not None:
        try:
            schema, _ = json.JSONDecoder().raw_decode(system, quoted.end())
            check_schema(schema)
        except (json.JSONDecodeError, UnsupportedSchema, RecursionError):
            pass  # the model does what it can
        else:
            return OutputForm(json=True, schema=schema)
    return OutputForm(json=True)

"""Reads a Messages request as strictly as the Anthropic API does."""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.simulator import shapes
from headrace.simulator.anthropic_conversation import (
    check_conversation,
    prompt_texts,
    results_at_end,
    text_of,
)
from headrace.simulator.asking import Ask, Choosing, OutputForm, OutputKind, Tool, ToolUse
from headrace.simulator.obedience import told_form
from headrace.simulator.refusals import Refusal
from headrace.simulator.schema_values import UnsupportedSchema, check_schema
from headrace.simulator.shapes import Misfit
from streams.models import Model, ProviderName
from streams.tokens import count_messages, count_text

_text_block = shapes.record(
    {
        "type": shapes.choice("text"),
        "text": shapes.text(empty=False),
        "cache_control": shapes.mapping,
        "citations": shapes.anything,
    },
    required=("type", "text"),
)
_tool = shapes.record(
    {
        "type": shapes.choice("custom"),
        "name": shapes.named(128),
        "description": shapes.text(),
        "input_schema": shapes.record({"type": shapes.choice("object")}, required=("type",), closed=False),
        "cache_control": shapes.mapping,
        "strict": shapes.boolean,
        "allowed_callers": shapes.array(),
        "defer_loading": shapes.boolean,
        "eager_input_streaming": shapes.boolean,
        "input_examples": shapes.array(shapes.mapping),
    },
    required=("name", "input_schema"),
)
_tool_choice = shapes.record(
    {
        "type": shapes.choice("auto", "any", "tool", "none"),
        "name": shapes.text(),
        "disable_parallel_tool_use": shapes.boolean,
    },
    required=("type",),
)
_COUNTED: Mapping[str, shapes.Check] = {
    "model": shapes.text(empty=False),
    "messages": shapes.array(shapes.mapping, low=1, high=100_000),
    "system": shapes.either("a string or an array", str=shapes.text(), list=shapes.array(_text_block)),
    "tools": shapes.array(_tool),
    "tool_choice": _tool_choice,
    "thinking": shapes.record(
        {"type": shapes.choice("enabled", "disabled", "adaptive")}, required=("type",), closed=False
    ),
    "cache_control": shapes.mapping,
    "output_config": shapes.record(
        {
            "effort": shapes.choice("low", "medium", "high", "xhigh", "max"),
            "format": shapes.record(
                {"type": shapes.choice("json_schema"), "schema": shapes.mapping}, required=("type", "schema")
            ),
        }
    ),
}
# The API versions served. The latest removed the sampling parameters and citations in users' texts.
LATEST_VERSION = "2026-10-21"
VERSIONS = frozenset({"2023-01-01", "2023-06-01", LATEST_VERSION})

_SAMPLING: Mapping[str, shapes.Check] = {
    "temperature": shapes.number(0, 1),
    "top_k": shapes.integer(0),
    "top_p": shapes.number(0, 1),
}
_FIELDS: Mapping[str, shapes.Check] = {
    **_COUNTED,
    "max_tokens": shapes.integer(1),
    "stop_sequences": shapes.array(shapes.text(empty=False)),
    "stream": shapes.boolean,
    "metadata": shapes.record({"user_id": shapes.text(256)}),
    "container": shapes.anything,
    "diagnostics": shapes.mapping,
    "inference_geo": shapes.text(),
    "service_tier": shapes.choice("auto", "standard_only"),
    "speed": shapes.choice("standard", "fast"),
    "user_profile_id": shapes.text(),
    "workspace_id": shapes.text(),
}
_REQUIRED = ("model", "max_tokens", "messages")
_check_latest = shapes.record(_FIELDS, required=_REQUIRED)
_check_older = shapes.record({**_FIELDS, **_SAMPLING}, required=_REQUIRED)
_check_counted = shapes.record(_COUNTED, required=("model", "messages"))


def read_request(body: Any, models: Mapping[str, Model], version: str) -> Ask:
    """Turn a decoded body into what is asked, by the rules of an API version.

    Raises:
        Misfit: If a field is not as documented.
        Refusal: If the request breaks a rule that concerns more than one field.
    """
    latest = version == LATEST_VERSION
    (_check_latest if latest else _check_older)(body, ())
    model = find_model(body["model"], models)
    messages: list[dict[str, Any]] = body["messages"]
    check_conversation(messages, citable=not latest)
    _check_stops(body.get("stop_sequences") or [])
    _check_max_tokens(body["max_tokens"], model)
    _refuse_unsupported(body)
    input_tokens = _input_tokens(body)
    _fit_context(input_tokens, body["max_tokens"], model)
    texts = prompt_texts(messages)
    users = [
        text for message, text in zip(messages, texts, strict=True) if message["role"] == "user" and text
    ]
    return Ask(
        model=model,
        prompt="\n".join((system_text(body), *texts)),
        question=users[-1] if users else texts[-1],
        tool_results=results_at_end(messages),
        identity=_identity(body),
        tool_use=_tool_use(body),
        form=_form(body),
        stop=tuple(body.get("stop_sequences") or ()),
        max_output_tokens=body["max_tokens"],
        input_tokens=input_tokens,
        stream=bool(body.get("stream")),
    )


def count_request(body: Any, models: Mapping[str, Model]) -> int:
    """Return the input tokens of a `count_tokens` request.

    Raises:
        Misfit: If a field is not as documented.
        Refusal: If the model is unknown or the conversation out of order.
    """
    _check_counted(body, ())
    find_model(body["model"], models)
    check_conversation(body["messages"])
    return _input_tokens(body)


def find_model(name: str, models: Mapping[str, Model]) -> Model:
    """Return an Anthropic model.

    Raises:
        Refusal: 404, if there is none of that name.
    """
    model = models.get(name)
    if model is None or model.provider is not ProviderName.ANTHROPIC:
        raise Refusal(404, f"model: {name}")
    return model


def system_text(body: Mapping[str, Any]) -> str:
    """Return the system prompt as one text."""
    system = body.get("system") or ""
    return system if isinstance(system, str) else "\n".join(block["text"] for block in system)


def _input_tokens(body: Mapping[str, Any]) -> int:
    system = system_text(body)
    counted = [{"role": "system", "content": system}] if system else []
    for message in body["messages"]:
        # A list of one text block is the same request as its text.
        plain = text_of(message)
        counted.append({"role": message["role"], "content": message["content"] if plain is None else plain})
    tools = body.get("tools")
    return count_messages(counted) + (count_text(msgspec.json.encode(tools).decode()) if tools else 0)


def _check_stops(stops: list[str]) -> None:
    for stop in stops:
        if not stop.strip():
            raise Refusal(400, "stop_sequences: each stop sequence must contain non-whitespace")


def _check_max_tokens(wanted: int, model: Model) -> None:
    if wanted > model.max_output_tokens:
        raise Refusal(
            400,
            f"max_tokens: {wanted} > {model.max_output_tokens}, which is the maximum allowed number of "
            f"output tokens for {model.name}",
        )


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    if (body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}:
        raise Refusal(400, "thinking: the simulator's models do not support thinking")


def _fit_context(input_tokens: int, wanted: int, model: Model) -> None:
    window = model.context_window_tokens
    if input_tokens > window:
        raise Refusal(400, f"prompt is too long: {input_tokens} tokens > {window} maximum")
    if input_tokens + wanted > window:
        raise Refusal(
            400,
            f"input length and `max_tokens` exceed context limit: {input_tokens} + {wanted} > {window}, "
            "decrease input length or `max_tokens` and try again",
        )


def _identity(body: Mapping[str, Any]) -> bytes:
    names = ("model", "system", "messages", "tools", "tool_choice", "output_config")
    return msgspec.json.encode([body.get(name) for name in names])


def _tool_use(body: Mapping[str, Any]) -> ToolUse:
    listed = body.get("tools") or []
    names = [tool["name"] for tool in listed]
    if len(set(names)) != len(names):
        raise Refusal(400, "tools: Tool names must be unique.")
    for index, tool in enumerate(listed):
        try:
            check_schema(tool["input_schema"])
        except UnsupportedSchema as error:
            message = f"tools.{index}.custom.input_schema: JSON schema is invalid - {error}"
            raise Refusal(400, message) from error
    tools = tuple(
        Tool(name=tool["name"], description=tool.get("description") or "", schema=tool["input_schema"])
        for tool in listed
    )
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice["type"]
    if kind in {"any", "tool"} and not tools:
        raise Refusal(400, "tool_choice: may only be specified while providing tools")
    only = _named_tool(choice, names) if kind == "tool" else None
    choosing = {"any": Choosing.ANY, "none": Choosing.NONE}.get(kind, Choosing.AUTO)
    return ToolUse(
        tools=tools, choosing=choosing, only=only, parallel=not choice.get("disable_parallel_tool_use")
    )


def _named_tool(choice: Mapping[str, Any], names: list[str]) -> str:
    if "name" not in choice:
        raise Misfit(("tool_choice", "tool", "name"), "missing")
    if choice["name"] not in names:
        raise Refusal(400, f"Tool '{choice['name']}' not found in provided tools")
    return str(choice["name"])


def _form(body: Mapping[str, Any]) -> OutputForm:
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return told_form(system_text(body))
    return OutputForm(kind=OutputKind.JSON_SCHEMA, schema=wanted["schema"])

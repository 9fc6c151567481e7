"""The rules for chat calls that both APIs have and that no type says: tools, lengths, models."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.simulator.error_reply import model_not_found, wrong_field
from headrace.simulator.generation.chat_task import ToolOffer
from headrace.simulator.generation.schema_values import UnsupportedSchema, check_schema
from streams.models import MODELS, Model, ProviderName
from streams.tokens import count_text

_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def served_model(provider: ProviderName, name: str) -> Model:
    """Return a provider's chat model."""
    model = MODELS.get(name)
    if model is None or model.provider is not provider:
        raise model_not_found(name)
    return model


def check_name(name: str, param: str, max_chars: int) -> None:
    """Check the name of a tool or of a schema."""
    if len(name) > max_chars or _NAME.fullmatch(name) is None:
        reason = f"must be 1 to {max_chars} letters, digits, underscores and dashes"
        raise wrong_field(param, reason, "invalid_value")


def offered_tools(
    functions: Sequence[Mapping[str, Any]], schema_field: str, path: str, max_name_chars: int
) -> tuple[ToolOffer, ...]:
    """Return the tools of a call.

    `schema_field` holds the JSON Schema of a tool's arguments; `path` is where a tool is in the body, with
    `{}` for its index.
    """
    for index, function in enumerate(functions):
        check_name(function["name"], f"{path.format(index)}.name", max_name_chars)
        try:
            check_schema(function.get(schema_field) or {})
        except UnsupportedSchema as error:
            param = f"{path.format(index)}.{schema_field}"
            raise wrong_field(param, f"invalid schema: {error}", "invalid_function_parameters") from error
    if len({function["name"] for function in functions}) != len(functions):
        raise wrong_field("tools", "tool names must be unique")
    return tuple(
        ToolOffer(
            name=function["name"],
            description=function.get("description") or "",
            schema=function.get(schema_field) or {},
        )
        for function in functions
    )


def check_chosen(only: str | None, tools: Sequence[ToolOffer]) -> None:
    """Check that the tool which must be called is there."""
    if only is not None and only not in {tool.name for tool in tools}:
        raise wrong_field("tool_choice", f"there is no tool '{only}' in `tools`")


def count_tools(tools: Any) -> int:
    """Return the input tokens of the field `tools`: those of its compact JSON."""
    return count_text(msgspec.json.encode(tools).decode()) if tools else 0


def check_lengths(model: Model, input_tokens: int, wanted: int | None) -> None:
    """Check a call against the model's limits of output and context."""
    if wanted is not None and wanted > model.max_output_tokens:
        reason = f"{wanted} > {model.max_output_tokens}, the maximum of output tokens of {model.name}"
        raise wrong_field("max_tokens", reason, "invalid_value")
    window = model.context_window_tokens
    if input_tokens + (wanted or 1) > window:
        reason = f"prompt is too long: {input_tokens} tokens and {wanted or 1} of output > {window} maximum"
        raise wrong_field("messages", reason, "context_length_exceeded")

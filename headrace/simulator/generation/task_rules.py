"""The rules for chat calls that both APIs have and that no type says: tools, lengths, models."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.simulator.error_reply import ErrorReply, model_not_found
from headrace.simulator.generation.chat_task import ToolOffer
from headrace.simulator.generation.schema_values import UnsupportedSchema, check_schema
from streams.models import MODELS, Model, ProviderName
from streams.tokens import count_text

_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def served_model(provider: ProviderName, name: str) -> Model:
    """Return a provider's chat model.

    Raises:
        ErrorReply: 404, where the provider has none of that name.
    """
    model = MODELS.get(name)
    if model is None or model.provider is not provider:
        raise model_not_found(name)
    return model


def check_name(name: str, param: str, max_chars: int) -> None:
    """Check the name of a tool or of a schema.

    Raises:
        ErrorReply: 400, where it is too long or has characters that the APIs do not take.
    """
    if len(name) > max_chars or _NAME.fullmatch(name) is None:
        message = f"{param}: must be 1 to {max_chars} letters, digits, underscores and dashes"
        raise ErrorReply(400, message, param=param, code="invalid_value")


def check_tools(tools: Sequence[ToolOffer], only: str | None, path: str, max_name_chars: int) -> None:
    """Check names and schemas of tools, and that the one which must be called is there.

    Args:
        tools: The tools of a call.
        only: The tool that must be called, or None.
        path: Where a tool is in the body, with `{}` for its index.
        max_name_chars: The length of a name at most.

    Raises:
        ErrorReply: 400.
    """
    names = [tool.name for tool in tools]
    for index, tool in enumerate(tools):
        check_name(tool.name, f"{path.format(index)}.name", max_name_chars)
        try:
            check_schema(tool.schema)
        except UnsupportedSchema as error:
            raise ErrorReply(
                400,
                f"Invalid schema for function '{tool.name}': {error}.",
                param=f"{path.format(index)}.parameters",
                code="invalid_function_parameters",
            ) from error
    if len(set(names)) != len(names):
        raise ErrorReply(400, "tools: Tool names must be unique.", param="tools")
    if only is not None and only not in names:
        raise ErrorReply(400, f"tool_choice: there is no tool '{only}' in `tools`.", param="tool_choice")


def count_tools(tools: Any) -> int:
    """Return the input tokens of the field `tools`: those of its compact JSON."""
    return count_text(msgspec.json.encode(tools).decode()) if tools else 0


def check_lengths(model: Model, input_tokens: int, wanted: int | None, param: str) -> None:
    """Check a call against the model's limits of output and context.

    Args:
        model: The model asked.
        input_tokens: The length of the prompt.
        wanted: The limit of output tokens asked for, or None.
        param: The name of that limit.

    Raises:
        ErrorReply: 400.
    """
    if wanted is not None and wanted > model.max_output_tokens:
        raise ErrorReply(
            400,
            f"{param}: {wanted} > {model.max_output_tokens}, which is the maximum allowed number of output "
            f"tokens for {model.name}",
            param=param,
            code="invalid_value",
        )
    window = model.context_window_tokens
    if input_tokens + (wanted or 1) > window:
        raise ErrorReply(
            400,
            f"prompt is too long: {input_tokens} tokens and {wanted or 1} of output > {window}, the model's "
            "maximum context length",
            param="messages",
            code="context_length_exceeded",
        )

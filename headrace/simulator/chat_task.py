"""What a call asks of a model, whichever API it came by, and the rules that no type of the APIs says."""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from headrace.simulator.invoice import BilledUsage
from headrace.simulator.request_validation import model_not_found, wrong_field
from headrace.simulator.schema_values import UnsupportedSchema, check_schema
from streams.model_catalogue import MODELS, Model, ProviderProtocol, count_text

_NAME = re.compile(r"[a-zA-Z0-9_-]+")


class ModelTask(msgspec.Struct, frozen=True, kw_only=True):
    """What every call has, a chat or embeddings; `prompt` is all text of the input, for behaviour rules."""

    model: str
    prompt: str
    input_tokens: int
    charge_usd: Callable[[BilledUsage], Decimal]
    stream: bool = False


class ToolOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call; `schema` is the JSON Schema of its arguments."""

    name: str
    description: str
    schema: dict[str, Any]


class ToolMode(StrEnum):
    """Whether the model may, must not or must call tools."""

    AUTO = "auto"
    NONE = "none"
    ANY = "any"


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a call and how they may be used; `only` names the one tool that must be called."""

    tools: tuple[ToolOffer, ...] = ()
    mode: ToolMode = ToolMode.AUTO
    only: str | None = None
    parallel: bool = True


class OutputForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the answer: text, a JSON object, or what conforms to a JSON Schema."""

    json: bool = False
    schema: dict[str, Any] | None = None


class ChatTask(ModelTask, frozen=True, kw_only=True):
    """One validated chat call: the answer is about `question`, and a function of `identity` and the seed."""

    question: str
    tool_results: tuple[str, ...]
    identity: bytes
    tool_use: ToolUse
    form: OutputForm
    stop: tuple[str, ...]
    max_output_tokens: int
    include_usage: bool = False


def served_model(provider: ProviderProtocol, name: str) -> Model:
    """Return a provider's chat model."""
    model = MODELS.get(name)
    if model is None or model.protocol is not provider:
        raise model_not_found(name)
    return model


def check_name(name: str, param: str, max_chars: int) -> None:
    """Check the name of a tool or of a schema."""
    if len(name) > max_chars or _NAME.fullmatch(name) is None:
        raise wrong_field(param, f"must be 1 to {max_chars} letters, digits, underscores and dashes")


def offered_tools(
    functions: Sequence[Mapping[str, Any]], schema_field: str, path: str, max_name_chars: int
) -> tuple[ToolOffer, ...]:
    """Return the tools of a call; `path` is where a tool is in the body, with `{}` for its index."""
    offers: dict[str, ToolOffer] = {}
    for index, function in enumerate(functions):
        name, schema = function["name"], function.get(schema_field) or {}
        check_name(name, f"{path.format(index)}.name", max_name_chars)
        try:
            check_schema(schema)
        except UnsupportedSchema as error:
            raise wrong_field(f"{path.format(index)}.{schema_field}", f"invalid schema: {error}") from error
        offers[name] = ToolOffer(name=name, description=function.get("description") or "", schema=schema)
    if len(offers) != len(functions):
        raise wrong_field("tools", "tool names must be unique")
    return tuple(offers.values())


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
        most = model.max_output_tokens
        raise wrong_field("max_tokens", f"{wanted} > {most}, the maximum of output tokens of {model.name}")
    window = model.context_window_tokens
    if input_tokens + (wanted or 1) > window:
        reason = f"prompt is too long: {input_tokens} tokens and {wanted or 1} of output > {window} maximum"
        raise wrong_field("messages", reason, "context_length_exceeded")

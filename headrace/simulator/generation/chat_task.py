"""What a call asks of a model, whichever API it came by."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from headrace.simulator.billing.charges import BilledUsage


class ModelTask(msgspec.Struct, frozen=True, kw_only=True):
    """What every call has, whatever it asks for: a chat or embeddings.

    Attributes:
        model: The model's name.
        prompt: All text of the input, for behaviour rules.
        input_tokens: The length of the input, tools included.
        stream: Whether the answer is a stream.
        charge_usd: Returns what the call costs, in US dollars.
    """

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


class OutputKind(StrEnum):
    """The form the answer must have."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


class OutputForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the answer, with its JSON Schema where there is one."""

    kind: OutputKind = OutputKind.TEXT
    schema: dict[str, Any] = msgspec.field(default_factory=dict)


class ChatTask(ModelTask, frozen=True, kw_only=True):
    """One validated chat call.

    Attributes:
        question: The text of the last user message, which the answer is about.
        tool_results: The results that end the conversation, or none where it does not end in results.
        identity: The bytes that the answer is a function of, together with the simulator's seed.
        stop: The stop sequences.
        max_output_tokens: The limit asked for, or the model's own.
        include_usage: Whether an OpenAI stream ends with a usage chunk.
    """

    question: str
    tool_results: tuple[str, ...]
    identity: bytes
    tool_use: ToolUse
    form: OutputForm
    stop: tuple[str, ...]
    max_output_tokens: int
    include_usage: bool = False

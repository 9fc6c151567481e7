"""What a call asks of a model, whichever API it came by."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from headrace.simulator.billing.charges import BilledUsage


class ModelTask(msgspec.Struct, frozen=True, kw_only=True):
    """What every call has, whatever it asks for: a chat or embeddings.

    `prompt` is all text of the input, for behaviour rules; `input_tokens` includes the tools.
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


class OutputForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the answer: text, a JSON object, or what conforms to a JSON Schema."""

    json: bool = False
    schema: dict[str, Any] | None = None


class ChatTask(ModelTask, frozen=True, kw_only=True):
    """One validated chat call.

    The answer is about `question`, the last user message, and a function of `identity` and the seed.
    `tool_results` are those that end the conversation.
    """

    question: str
    tool_results: tuple[str, ...]
    identity: bytes
    tool_use: ToolUse
    form: OutputForm
    stop: tuple[str, ...]
    max_output_tokens: int
    include_usage: bool = False

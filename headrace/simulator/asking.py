"""What is asked of a model, whichever API it came by."""

from enum import StrEnum
from typing import Any

import msgspec

from streams.models import Model, ProviderName


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call; `schema` is the JSON Schema of its arguments."""

    name: str
    description: str
    schema: dict[str, Any]


class Choosing(StrEnum):
    """Whether the model must, may or must not call tools."""

    AUTO = "auto"
    NONE = "none"
    ANY = "any"


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a call and how they may be used; `only` names the one tool that must be called."""

    tools: tuple[Tool, ...] = ()
    choosing: Choosing = Choosing.AUTO
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


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One validated chat call.

    Attributes:
        prompt: All text of the conversation, for behaviour rules.
        question: The text of the last user message, which the answer is about.
        tool_results: The results that end the conversation, or none where it does not end in results.
        identity: The bytes that the answer is a function of, together with the simulator's seed.
        max_output_tokens: The limit asked for, or the model's own.
        include_usage: Whether an OpenAI stream ends with a usage chunk.
    """

    model: Model
    prompt: str
    question: str
    tool_results: tuple[str, ...]
    identity: bytes
    tool_use: ToolUse
    form: OutputForm
    stop: tuple[str, ...]
    max_output_tokens: int
    input_tokens: int
    stream: bool
    include_usage: bool = False

    @property
    def provider(self) -> ProviderName:
        """Who serves the model."""
        return self.model.provider

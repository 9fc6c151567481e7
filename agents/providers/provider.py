"""The port `Provider`, which every adapter implements: it takes one call and returns an answer, or raises."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec

from streams.events import Embeddings, Message, Usage

CALL_ID_HEADER = "X-Headrace-Call-Id"
MOST_TOKENS = 10_000_000
"""No model takes more tokens."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long each phase of a call may take, in seconds. `total_s` bounds them all."""

    connect_s: float
    first_token_s: float
    between_tokens_s: float
    total_s: float

    def of(self, phase: str) -> float:
        """Return the limit of a phase: ``connect``, ``first_token``, ``between_tokens`` or ``total``."""
        limit_s: float = getattr(self, f"{phase}_s")
        return limit_s


class ProviderCall(msgspec.Struct, frozen=True, kw_only=True):
    """One chat call, in OpenAI's terms. `model` is the provider's name of it."""

    call_id: str
    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int
    timeouts: Timeouts
    stream: bool = False  # whether the answer is wanted in pieces
    input_tokens: int = 0  # our own count, for estimates where the provider reports no usage
    most_tokens: int = MOST_TOKENS  # that the model can take: no count that is reported can be higher
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    user: str | None = None  # a hash: providers never learn who asks
    #: The request's, of either API; `passed_on` chooses those that an adapter's API has.
    params: dict[str, Any] = {}
    metadata: dict[str, Any] | None = None


class EmbeddingCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call for the embeddings of some texts. The fields mean what they mean in `ProviderCall`."""

    call_id: str
    model: str
    inputs: tuple[str, ...]
    timeouts: Timeouts
    input_tokens: int = 0
    most_tokens: int = MOST_TOKENS
    dimensions: int | None = None
    user: str | None = None


AnyCall = ProviderCall | EmbeddingCall


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of all the texts of a call, in their order."""

    embeddings: Embeddings
    model: str
    usage: Usage
    finish_reason: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `finish_reason` is one of OpenAI's; `tool_calls` have OpenAI's shape."""

    text: str
    model: str
    finish_reason: str
    usage: Usage
    tool_calls: tuple[dict[str, Any], ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """The next piece of the answer's text."""

    text: str


class UsageKnown(msgspec.Struct, frozen=True):
    """What the provider has reported so far of what the call spends."""

    usage: Usage
    model: str


ProviderEvent = TextDelta | UsageKnown | Answer


class Provider(Protocol):
    """A service that answers chat prompts. It tries each call once: the call loop retries."""

    def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer piece by piece where `call.stream`, and last the whole `Answer`.

        Closing the generator ends the call at the provider.

        Raises:
            ProviderFault: the answer does not come, or breaks off.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...

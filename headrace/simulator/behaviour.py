"""The behaviour that an operator sets with `PUT /behaviour`, and its validation.

Every field is described in docs/simulator.md. Unknown fields, values out of range and contradictions are
refused with the path of the field.
"""

import re
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from streams.models import ProviderName

_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=600_000)]
_TokensPerSecond = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
_Fragment = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]
_ChunkChars = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class _Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Uniform(_Setting, frozen=True, kw_only=True, tag_field="distribution", tag="uniform"):
    """A time drawn evenly between two bounds."""

    min_ms: _Milliseconds
    max_ms: _Milliseconds

    def __post_init__(self) -> None:
        if self.min_ms > self.max_ms:
            raise ValueError("`min_ms` is above `max_ms`")


class LogNormal(_Setting, frozen=True, kw_only=True, tag_field="distribution", tag="lognormal"):
    """A time with a long tail: `sigma` is the standard deviation of its logarithm."""

    median_ms: _Milliseconds
    sigma: Annotated[float, msgspec.Meta(ge=0, le=3)] = 0.5


class Latency(_Setting, frozen=True, kw_only=True):
    """How long a call takes; the defaults are instant."""

    first_token_ms: _Milliseconds | Uniform | LogNormal = 0.0
    tokens_per_second: _TokensPerSecond | None = None


class RateLimits(_Setting, frozen=True, kw_only=True):
    """Limits a model and provider enforce, with 429; none by default."""

    requests_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tokens_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None


class FaultKind(StrEnum):
    """What goes wrong with a call."""

    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    HANG = "hang"
    DROP = "drop"
    MALFORMED = "malformed"
    SLOW = "slow"


_MID_STREAM = frozenset(
    {FaultKind.SERVER_ERROR, FaultKind.OVERLOADED, FaultKind.HANG, FaultKind.DROP, FaultKind.MALFORMED}
)
_REFUSING = frozenset({FaultKind.RATE_LIMIT, FaultKind.OVERLOADED})


class Scope(_Setting, frozen=True, kw_only=True):
    """Which calls a rule concerns: all of the given conditions must hold."""

    provider: ProviderName | None = None
    model: _Fragment | None = None
    prompt_contains: _Fragment | None = None

    def covers(self, provider: ProviderName, model: str, prompt: str) -> bool:
        """Tell whether a call is concerned."""
        return (
            (self.provider is None or self.provider == provider)
            and (self.model is None or self.model == model)
            and (self.prompt_contains is None or self.prompt_contains in prompt)
        )


class FaultRule(Scope, frozen=True, kw_only=True):
    """A fault, how often it strikes (`rate` or `next_calls`) and its own settings."""

    kind: FaultKind
    rate: _Share | None = None
    next_calls: _Count | None = None
    retry_after_s: _Seconds | None = None
    after_chunks: _Count | None = None
    latency: Latency | None = None

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.next_calls is None):
            raise ValueError("give either `rate` (a share of calls) or `next_calls` (a number of calls)")
        if self.retry_after_s is not None and self.kind not in _REFUSING:
            raise ValueError(f"`retry_after_s` does not apply to `{self.kind}`")
        if self.after_chunks is not None and self.kind not in _MID_STREAM:
            raise ValueError(f"`after_chunks` does not apply to `{self.kind}`")
        if (self.latency is not None) != (self.kind is FaultKind.SLOW):
            raise ValueError("`latency` belongs to the fault `slow`, which needs it")


class FixedToolCall(_Setting, frozen=True, kw_only=True):
    """A tool call that an answer rule makes."""

    name: _Fragment
    arguments: dict[str, Any] = {}


class Finish(StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    STOP_SEQUENCE = "stop_sequence"
    CONTENT_FILTER = "content_filter"


class AnswerRule(Scope, frozen=True, kw_only=True):
    """Given words for given prompts; `prompt_matches` is a regular expression, searched in the prompt."""

    prompt_matches: _Fragment | None = None
    text: Annotated[str, msgspec.Meta(max_length=1_000_000)] | None = None
    chunk_chars: _ChunkChars | Annotated[list[_ChunkChars], msgspec.Meta(min_length=1)] | None = None
    tool_calls: list[FixedToolCall] = []
    content_filter: bool = False

    def __post_init__(self) -> None:
        if self.text is None and not self.tool_calls and self.chunk_chars is None:
            raise ValueError("an answer rule needs `text`, `tool_calls` or `chunk_chars`")
        if self.prompt_matches is not None:
            try:
                re.compile(self.prompt_matches)
            except re.error as error:
                raise ValueError(f"`prompt_matches` is not a regular expression: {error}") from error

    def speaks_to(self, provider: ProviderName, model: str, prompt: str) -> bool:
        """Tell whether the rule answers a call."""
        if not self.covers(provider, model, prompt):
            return False
        return self.prompt_matches is None or re.search(self.prompt_matches, prompt) is not None


class Behaviour(_Setting, frozen=True, kw_only=True):
    """Everything an operator can set; the default is instant, unlimited and without faults."""

    latency: Latency = Latency()
    rate_limits: RateLimits = RateLimits()
    cached_input_share: _Share = 0.0
    faults: Annotated[list[FaultRule], msgspec.Meta(max_length=1_000)] = []
    answers: Annotated[list[AnswerRule], msgspec.Meta(max_length=10_000)] = []


def decode(body: bytes) -> Behaviour:
    """Read a behaviour from JSON.

    Raises:
        msgspec.DecodeError: If it is not JSON or not a behaviour; the message names the field.
    """
    return msgspec.json.decode(body, type=Behaviour)

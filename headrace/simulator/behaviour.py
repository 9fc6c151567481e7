"""The behaviour that an operator sets with `PUT /behaviour`: its validation, and what it means for each call.

Every field is described in docs/simulator.md. Unknown fields, values out of range and contradictions are
refused with the path of the field.
"""

import math
from enum import StrEnum
from random import Random
from typing import Annotated, Any

import msgspec

from headrace.simulator.invoice import BilledUsage
from streams.model_catalogue import ProviderProtocol

_MS_PER_S = 1000.0
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=600_000)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_CallCount = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_Fragment = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]
_HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
_HeaderValue = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e\xa0-\xff]{0,8000}$")]
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


class TokenTiming(msgspec.Struct, frozen=True, kw_only=True):
    """The timing of one call: seconds to the first token and seconds a token (0 is instant)."""

    first_token_s: float = 0.0
    token_s: float = 0.0

    @property
    def instant(self) -> bool:
        """Whether the call waits for nothing."""
        return self.first_token_s == 0.0 and self.token_s == 0.0

    def due_s(self, tokens: int) -> float:
        """Return when `tokens` tokens are generated, in seconds from the start of the call."""
        return self.first_token_s + max(0, tokens - 1) * self.token_s

    def generated(self, elapsed_s: float, total: int) -> int:
        """Return how many of `total` tokens are generated after `elapsed_s`."""
        if elapsed_s < self.first_token_s:
            return 0
        if self.token_s == 0.0:
            return total
        return min(total, 1 + int((elapsed_s - self.first_token_s) / self.token_s))


class Latency(_Setting, frozen=True, kw_only=True):
    """How long a call takes; the defaults are instant."""

    first_token_ms: _Milliseconds | Uniform | LogNormal = 0.0
    tokens_per_second: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None

    def draw(self, random: Random) -> TokenTiming:
        """Draw the timing of one call."""
        match self.first_token_ms:
            case Uniform(min_ms=low, max_ms=high):
                first_ms = random.uniform(low, high)
            case LogNormal(median_ms=median, sigma=sigma):
                first_ms = median * math.exp(random.gauss(0.0, sigma))
            case fixed:
                first_ms = float(fixed)
        rate = self.tokens_per_second
        return TokenTiming(first_token_s=first_ms / _MS_PER_S, token_s=0.0 if rate is None else 1.0 / rate)


class FaultKind(StrEnum):
    """What goes wrong with a call."""

    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    HANG = "hang"
    DROP = "drop"
    MALFORMED = "malformed"
    SLOW = "slow"


_MID_STREAM = frozenset(FaultKind) - {FaultKind.RATE_LIMIT, FaultKind.SLOW}
_WITH_RETRY_AFTER = frozenset({FaultKind.RATE_LIMIT, FaultKind.OVERLOADED})
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
_BODILESS_STATUSES = frozenset({204, 304})


class CallScope(_Setting, frozen=True, kw_only=True):
    """Which calls a rule concerns: all of the given conditions must hold."""

    provider: ProviderProtocol | None = None
    model: _Fragment | None = None
    prompt_contains: _Fragment | None = None

    def covers(self, provider: ProviderProtocol, model: str, prompt: str) -> bool:
        """Tell whether the rule concerns a call."""
        return (
            self.provider in {None, provider}
            and self.model in {None, model}
            and (self.prompt_contains is None or self.prompt_contains in prompt)
        )


class FaultRule(CallScope, frozen=True, kw_only=True):
    """A fault, how often it strikes (`rate` or `next_calls`) and its own settings."""

    kind: FaultKind
    rate: _Share | None = None
    next_calls: _CallCount | None = None
    retry_after_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    after_chunks: _CallCount | None = None
    latency: Latency | None = None

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.next_calls is None):
            raise ValueError("give either `rate` (a share of calls) or `next_calls` (a number of calls)")
        if self.retry_after_s is not None and self.kind not in _WITH_RETRY_AFTER:
            raise ValueError(f"`retry_after_s` does not apply to `{self.kind}`")
        if self.after_chunks is not None and self.kind not in _MID_STREAM:
            raise ValueError(f"`after_chunks` does not apply to `{self.kind}`")
        if (self.latency is not None) != (self.kind is FaultKind.SLOW):
            raise ValueError("`latency` belongs to the fault `slow`, which needs it")


class FixedToolCall(_Setting, frozen=True, kw_only=True):
    """A tool call that an answer rule makes."""

    name: _Fragment
    arguments: dict[str, Any] = {}


class AnswerRule(CallScope, frozen=True, kw_only=True):
    """Given words for given prompts."""

    text: Annotated[str, msgspec.Meta(max_length=1_000_000)] | None = None
    chunk_chars: _ChunkChars | Annotated[list[_ChunkChars], msgspec.Meta(min_length=1)] | None = None
    tool_calls: list[FixedToolCall] = []

    def __post_init__(self) -> None:
        if self.text is None and not self.tool_calls and self.chunk_chars is None:
            raise ValueError("an answer rule needs `text`, `tool_calls` or `chunk_chars`")


class RawChunk(_Setting, frozen=True, kw_only=True):
    """A piece of a raw answer, as `text` or as `base64`."""

    text: str | None = None
    base64: bytes | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.base64 is None):
            raise ValueError("a chunk needs either `text` or `base64`")

    @property
    def data(self) -> bytes:
        """The bytes that are sent."""
        return self.text.encode() if self.text is not None else self.base64 or b""


class RawEnd(StrEnum):
    """How a raw answer ends: as HTTP demands, or with the connection closed amid the body."""

    CLEAN = "clean"
    CUT = "cut"


class RawAnswer(CallScope, frozen=True, kw_only=True):
    """An answer byte by byte: status, headers, body and how it ends; without a `bill` it is not billed."""

    next_calls: _CallCount | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    headers: Annotated[dict[_HeaderName, _HeaderValue], msgspec.Meta(max_length=100)] = {}
    chunks: Annotated[list[RawChunk], msgspec.Meta(max_length=10_000)] = []
    end: RawEnd = RawEnd.CLEAN
    bill: BilledUsage | None = None

    def __post_init__(self) -> None:
        for name in self.headers:
            if name.lower() in _FRAMING_HEADERS:
                raise ValueError(f"`headers` may not name `{name}`: the server frames the body itself")
        if self.status in _BODILESS_STATUSES and self.chunks:
            raise ValueError(f"an answer of status {self.status} has no body: leave out `chunks`")


class Behaviour(_Setting, frozen=True, kw_only=True):
    """Everything an operator can set; the default is instant and without faults."""

    latency: Latency = Latency()
    cached_input_share: _Share = 0.0
    faults: Annotated[list[FaultRule], msgspec.Meta(max_length=1_000)] = []
    answers: Annotated[list[AnswerRule], msgspec.Meta(max_length=10_000)] = []
    raw_answers: Annotated[list[RawAnswer], msgspec.Meta(max_length=1_000)] = []


# OpenAI caches inputs from this length on, in steps of this size.
_CACHED_FROM_TOKENS = 1024
_CACHE_STEP_TOKENS = 128


class Director:
    """Holds the behaviour in force and the random sequence that its rates and times are drawn from.

    The sequence starts anew from the seed at each change of behaviour, so that the same behaviour and the
    same order of calls give the same faults.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.direct(Behaviour())

    def direct(self, behaviour: Behaviour) -> None:
        """Put a behaviour in force from the next call on."""
        self._random = Random(self._seed)
        self._behaviour = behaviour

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force; `next_calls` of its rules is what remains of them."""
        return self._behaviour

    def fault(self, provider: ProviderProtocol, model: str, prompt: str) -> FaultRule | None:
        """Return the first fault that strikes a call; it uses up one of its `next_calls`."""
        for rule in self._behaviour.faults:
            if rule.next_calls == 0 or not rule.covers(provider, model, prompt):
                continue
            if rule.rate is None or self._random.random() < rule.rate:
                self._use_up("faults", rule)
                return rule
        return None

    def raw_answer(self, provider: ProviderProtocol, model: str, prompt: str) -> RawAnswer | None:
        """Return the first raw answer for a call; it uses up one of its `next_calls`."""
        rules = (rule for rule in self._behaviour.raw_answers if rule.next_calls != 0)
        found = next((rule for rule in rules if rule.covers(provider, model, prompt)), None)
        self._use_up("raw_answers", found)
        return found

    def _use_up(self, field: str, used: FaultRule | RawAnswer | None) -> None:
        if used is not None and used.next_calls is not None:
            fewer = msgspec.structs.replace(used, next_calls=used.next_calls - 1)
            rules = [fewer if rule is used else rule for rule in getattr(self._behaviour, field)]
            self._behaviour = msgspec.structs.replace(self._behaviour, **{field: rules})

    def timing(self, fault: FaultRule | None) -> TokenTiming:
        """Draw the timing of a call."""
        own = fault.latency if fault is not None else None
        return (own or self._behaviour.latency).draw(self._random)

    def answer(self, provider: ProviderProtocol, model: str, prompt: str) -> AnswerRule | None:
        """Return the first rule that gives a call its words."""
        return next((rule for rule in self._behaviour.answers if rule.covers(provider, model, prompt)), None)

    def cached_tokens(self, input_tokens: int) -> int:
        """Return how much of an input counts as cached."""
        if input_tokens < _CACHED_FROM_TOKENS:
            return 0
        cached = int(input_tokens * self._behaviour.cached_input_share)
        return cached // _CACHE_STEP_TOKENS * _CACHE_STEP_TOKENS

"""What the stages hand on: the envelope, and everything that they have found out about a request."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from streams.events.requests import ChatRequested, Event, Message
from streams.model_catalogue import STANDARD_TIER


class ErrorInfo(Event, frozen=True, kw_only=True):
    """A failure as the sender reads it: the fields of OpenAI's error object."""

    type: str
    code: str
    message: str
    param: str | None = None


class Usage(Event, frozen=True, kw_only=True, omit_defaults=False):
    """The tokens of a call: `input_tokens` with those read from and written to the provider's prompt cache.

    `cache_write_1h_tokens` are those of the written that are kept for an hour instead of five minutes;
    `output_tokens` include reasoning. `estimated`: some counts are our own, because the provider reported
    none or impossible ones. `service_tier` is as the provider reports it; OpenAI's `default` is `standard`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    estimated: bool = False
    service_tier: str = STANDARD_TIER


class LlmCall(Event, frozen=True, kw_only=True):
    """One attempt at a provider, whatever came of it.

    `orphaned`: the worker ended before the answer was stored, so that the spend is an estimate. `error` is
    the fault's type, e.g. ``rate_limited``. `long_context`: priced as a long prompt.
    """

    call_id: str
    attempt: int
    provider: str
    request_model: str
    started_at: datetime
    duration_us: int
    usage: Usage
    cost_usd: Decimal
    price_version: str
    response_model: str | None = None
    time_to_first_token_us: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    shadow: bool = False
    orphaned: bool = False
    long_context: bool = False


class Embeddings(Event, frozen=True, kw_only=True):
    """The vectors of some texts, in the order of the texts.

    `vectors` holds all numbers in a row as little-endian float32: exact, and a third of the size of JSON
    numbers. It is empty once they are no longer kept.
    """

    count: int
    dimensions: int
    vectors: bytes = b""


class Completion(Event, frozen=True, kw_only=True):
    """An answer of a model, or the degraded answer when no model answers."""

    content: str
    model: str
    finish_reason: str
    usage: Usage
    attempt: int = 1
    provider: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tools_used: tuple[str, ...] = ()
    degraded: bool = False
    error: ErrorInfo | None = None
    embeddings: Embeddings | None = None


class ReplyAddress(Event, frozen=True, kw_only=True):
    """Where the reply goes: the request–reply headers of Spring's `ReplyingKafkaTemplate`."""

    topic: str
    partition: int | None = None
    correlation_id: bytes | None = None


class Timing(Event, frozen=True, kw_only=True):
    """One execution of a stage: microseconds in the queue, microseconds of work."""

    stage: str
    started_at: datetime
    queue_us: int
    work_us: int
    outcome: str


class InputVerdict(Event, frozen=True, kw_only=True):
    """What the guardrail found in the request."""

    passed: bool
    rule: str | None = None
    reason: str | None = None
    pii_types: tuple[str, ...] = ()
    input_tokens: int = 0


class PromptRef(Event, frozen=True, kw_only=True):
    """The prompt version that was rendered, and the experiment arm that chose it."""

    name: str
    version: str
    experiment: str | None = None
    arm: str | None = None


class CacheKind(StrEnum):
    """How the cache was consulted."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    MISS = "miss"
    BYPASS = "bypass"


class CacheLookup(Event, frozen=True, kw_only=True):
    """The result of a cache lookup. `similarity` is a cosine, `age_s` the age of the cached answer."""

    kind: CacheKind
    similarity: float | None = None
    source_request_id: str | None = None
    age_s: int | None = None

    @property
    def hit(self) -> bool:
        """Whether the answer came from the cache."""
        return self.kind in (CacheKind.EXACT, CacheKind.SEMANTIC)


class OutputVerdict(Event, frozen=True, kw_only=True):
    """What the output check found in the answer."""

    passed: bool
    rule: str | None = None
    reason: str | None = None
    redacted_types: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class Envelope(Event, frozen=True, kw_only=True):
    """Everything that is known of one request so far.

    Of an embeddings request, `request` holds who asks and how, without the texts. `replay` counts how often
    an operator has replayed a dead letter of the request.
    """

    request_id: str
    tenant: str
    user_id: str
    tier: str
    accepted_at: datetime
    deadline_at: datetime
    request: ChatRequested
    reply_to: ReplyAddress
    session_id: str | None = None
    traceparent: str | None = None
    timings: tuple[Timing, ...] = ()
    input_verdict: InputVerdict | None = None
    prompt: PromptRef | None = None
    cache: CacheLookup | None = None
    calls: tuple[LlmCall, ...] = ()
    output_verdict: OutputVerdict | None = None
    replay: int = 0


class RequestGuarded(Event, frozen=True, kw_only=True):
    """The request passed the input guardrails; personal data in it is redacted."""

    envelope: Envelope


class CacheSlot(Event, frozen=True, kw_only=True):
    """Where the answer is cached once it is checked.

    `scope` isolates tenant, model route, prompt version and conversation. `static_vector` is the query's
    static vector as little-endian float32 bytes; without it only an exact match is possible. `vector` is the
    query's embedding as little-endian float16 bytes, where it was computed.
    """

    scope: str
    exact_key: str
    text: str
    vector: bytes | None = None
    static_vector: bytes | None = None


class CacheMissed(Event, frozen=True, kw_only=True):
    """No cached answer: `messages` is the rendered prompt that the model will see."""

    envelope: Envelope
    messages: tuple[Message, ...]
    default_model: str
    max_output_tokens: int
    cache_slot: CacheSlot | None = None


class Completed(Event, frozen=True, kw_only=True):
    """A model answered; the answer is not checked yet."""

    envelope: Envelope
    messages: tuple[Message, ...]
    completion: Completion
    cache_slot: CacheSlot | None = None


class Status(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    CACHED = "cached"
    DEGRADED = "degraded"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OutcomeReached(Event, frozen=True, kw_only=True):
    """The request has ended; only the accounting is left."""

    envelope: Envelope
    status: Status
    completion: Completion | None = None
    error: ErrorInfo | None = None

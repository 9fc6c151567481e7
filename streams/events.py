"""The events that travel between the stages.

A request enters as `ChatRequested` or `EmbeddingsRequested`. The first stage puts it into an `Envelope`, and
the envelope travels with it to the end: each stage adds its own section and hands it on. `OutcomeReached` is
the last event of every request; from it the cost stage makes the one `Reply` and the one `RequestLog`.

Times are UTC-aware. Durations carry their unit in the name. Money is `Decimal` US dollars and travels
as a JSON string. Unknown fields are ignored, so that an older reader understands a newer writer.

How long a text may be is no property of an event: `streams.request_rules.chat` says it of what senders send,
and stages may add to it.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from streams.models import STANDARD_TIER

#: OpenAI's most; an installation's own limit is lower (`HEADRACE_EMBEDDING_MAX_INPUTS`).
MAX_EMBEDDING_INPUTS = 2048
#: 8,192 tokens, the longest input of an embedding model, are some 40,000 characters of prose.
MAX_EMBEDDING_CHARS = 100_000
#: The longest deadline a request may name: 6 hours. Batches wait in Kafka; replies are kept longer than that.
MAX_DEADLINE_MS = 6 * 60 * 60 * 1000

#: Not even with a line break at the end, which `$` alone would let through.
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$(?!\n)")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
ScoreName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$(?!\n)")]
ScoreId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$(?!\n)")]
ScoreLabel = Annotated[str, Meta(max_length=64)]
ScoreSource = Literal["user", "human", "judge", "check"]
Scorer = Annotated[str, Meta(max_length=128)]
ScoreComment = Annotated[str, Meta(max_length=4_000)]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything that is encoded on a topic."""


# ── what a sender asks ────────────────────────────────────────────────────────────────────────────


class CacheControl(Event, frozen=True, kw_only=True, tag_field="type", tag="ephemeral"):
    """Where Anthropic's models cache the prompt up to, and for how long; of no effect elsewhere."""

    ttl: Literal["5m", "1h"] | None = None


class CacheBreakpoint(Event, frozen=True, kw_only=True):
    """Where OpenAI's models cache the prompt up to; of no effect elsewhere."""

    mode: Literal["explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None


class TextPart(Event, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A text part of a message. Images and audio are not supported, and refused by name."""

    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class Message(Event, frozen=True, kw_only=True):
    """One chat message in OpenAI's wire shape.

    `cache_control` is that of a tool's result; other messages have it in their parts.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None
    tool_call_id: str | None = None
    cache_control: CacheControl | None = None

    @property
    def text(self) -> str:
        """The text of the message, its parts joined by line breaks."""
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content)
        return self.content or ""

    def with_text(self, text: str) -> "Message":
        """Return the same message saying `text` instead."""
        return msgspec.structs.replace(self, content=text)


class Webhook(Event, frozen=True, kw_only=True):
    """Where the sender wants to be told of the end of the request: by a signed POST of the reply to `url`."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]


class ChatRequested(Event, frozen=True, kw_only=True):
    """A chat request, from ingest or from any Kafka producer.

    Either `query` (with a prompt `template` and its `variables`) or `messages`. `request_id` may come
    from the `ce_id` header instead; `accepted_at` is the record's timestamp where it is not given.
    `params` are further parameters of the models' own APIs, by name: see `streams.request_rules.parameters`.
    `headrace_cache` says how the answer cache may be used: `streams.request_rules.cache_directives`.
    """

    user_id: Name
    request_id: RequestId | None = None
    tenant: Name | None = None
    tier: Name | None = None
    session_id: Name | None = None
    query: str | None = None
    messages: Annotated[tuple[Message, ...], Meta(min_length=1)] | None = None
    template: Name | None = None
    variables: dict[str, str] | None = None
    model: Name | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    stream: bool = False
    deadline_ms: Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS)] | None = None
    on_disconnect: Literal["continue", "cancel"] | None = None
    webhook: Webhook | None = None
    accepted_at: Annotated[datetime, Meta(tz=True)] | None = None
    metadata: dict[str, Any] | None = None
    headrace_cache: str | None = None


class EmbeddingsRequested(Event, frozen=True, kw_only=True):
    """A request for the embeddings of some texts, from ingest or from any Kafka producer.

    `dimensions` shortens the vectors, where the model can do that. For the other fields see `ChatRequested`.
    """

    user_id: Name
    inputs: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_EMBEDDING_CHARS)], ...],
        Meta(min_length=1, max_length=MAX_EMBEDDING_INPUTS),
    ]
    model: Name
    request_id: RequestId | None = None
    tenant: Name | None = None
    tier: Name | None = None
    session_id: Name | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    deadline_ms: Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS)] | None = None
    on_disconnect: Literal["continue", "cancel"] | None = None
    accepted_at: Annotated[datetime, Meta(tz=True)] | None = None
    metadata: dict[str, Any] | None = None


#: What senders ask for, each on a topic of its own: `streams.pipeline.ENTRANCES`.
Requested = ChatRequested | EmbeddingsRequested


# ── what the envelope gathers on its way ──────────────────────────────────────────────────────────


class ReplyAddress(Event, frozen=True, kw_only=True):
    """Where the reply goes: the request–reply headers of Spring's `ReplyingKafkaTemplate`."""

    topic: str
    partition: int | None = None
    correlation_id: bytes | None = None


class Timing(Event, frozen=True, kw_only=True):
    """One execution of a stage: how long the event waited for it, and how long it worked."""

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
    """What the cache said. `similarity` is a cosine; `age_s`: how long ago the answer was kept."""

    kind: CacheKind
    similarity: float | None = None
    source_request_id: str | None = None
    age_s: int | None = None

    @property
    def hit(self) -> bool:
        """Whether the answer came from the cache."""
        return self.kind in (CacheKind.EXACT, CacheKind.SEMANTIC)


class Usage(Event, frozen=True, kw_only=True, omit_defaults=False):
    """Tokens of a call. `input_tokens` includes cached and written ones; `output_tokens` the reasoning.

    `cached_tokens` were read from the provider's prompt cache, `cache_write_tokens` written to it; of those,
    `cache_write_1h_tokens` are kept for an hour rather than five minutes. `estimated`: the provider has
    reported some of it not at all, or in a way that cannot be true; that is our own count. `service_tier` is
    the one that the provider says the call was served at; OpenAI's `default` is `standard`.
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

    `orphaned`: the provider was asked and the answer was lost with its worker; the spend is an
    estimate from what is known. `error` is the fault's type, e.g. ``rate_limited``. `long_context`: it was
    priced as a long prompt.
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


class OutputVerdict(Event, frozen=True, kw_only=True):
    """What the output check found in the answer."""

    passed: bool
    rule: str | None = None
    reason: str | None = None
    redacted_types: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class ErrorInfo(Event, frozen=True, kw_only=True):
    """A failure as its sender should read it, in the terms of OpenAI's error object."""

    type: str
    code: str
    message: str
    param: str | None = None


class Envelope(Event, frozen=True, kw_only=True):
    """Everything that is known of one request so far.

    `request`: of embeddings, it says who asks and how; see `agents.intake.envelopes.as_chat`.
    `replay` counts how often an operator has replayed a dead letter of the request.
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


# ── from stage to stage ───────────────────────────────────────────────────────────────────────────


class RequestGuarded(Event, frozen=True, kw_only=True):
    """The request passed the input guardrails; personal data in it is redacted."""

    envelope: Envelope


class CacheSlot(Event, frozen=True, kw_only=True):
    """Where the answer to this request will be cached once it is checked.

    `scope` isolates tenant, model route, prompt version and conversation; `vector` is the query's
    embedding as little-endian float32 bytes, absent where only an exact match makes sense.
    """

    scope: str
    exact_key: str
    text: str
    vector: bytes | None = None


class CacheMissed(Event, frozen=True, kw_only=True):
    """No cached answer: `messages` is the rendered prompt that the model will see."""

    envelope: Envelope
    messages: tuple[Message, ...]
    default_model: str
    max_output_tokens: int
    cache_slot: CacheSlot | None = None


class Embeddings(Event, frozen=True, kw_only=True):
    """The vectors of some texts, in the order of the texts.

    `vectors` are the numbers of all of them, one after the other, as little-endian float32: exactly what the
    model gave, in a third of the space of JSON numbers. Empty where they are no longer kept.
    """

    count: int
    dimensions: int
    vectors: bytes = b""


class Completion(Event, frozen=True, kw_only=True):
    """An answer of a model, or the degraded answer when no model could be had."""

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


class Completed(Event, frozen=True, kw_only=True):
    """A model answered; nobody has checked the answer yet."""

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
    """The request is decided; only the accounting is left."""

    envelope: Envelope
    status: Status
    completion: Completion | None = None
    error: ErrorInfo | None = None


# ── what leaves the pipeline ──────────────────────────────────────────────────────────────────────


class Delta(Event, frozen=True, kw_only=True):
    """A checked piece of an answer on its way. A higher `attempt` replaces all lower ones.

    `cache_kind` is in the first piece of an attempt (`seq` 0): how the cache was consulted.
    """

    request_id: str
    attempt: int
    seq: int
    text: str
    cache_kind: CacheKind | None = None


class Reply(Event, frozen=True, kw_only=True):
    """The one terminal reply of a request.

    `repeat`: the request was sent again, and this is the reply that it got before. `replay`: an operator has
    replayed the request's dead letter so often; the reply with the highest number is the one that counts.
    `pii_detected`: kinds of personal data that were redacted before anybody saw them. `similarity`: of the
    question to the one whose answer the cache gave, as a cosine. `cache_kind`: how the cache was consulted,
    where it was; `cache_age_s`: how long its answer had been kept, in seconds. `model` is whose answer it is.
    """

    request_id: str
    status: Status
    content: str = ""
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage = Usage()
    cost_usd: Decimal = Decimal(0)
    cache_hit: bool = False
    similarity: float | None = None
    cache_kind: CacheKind | None = None
    cache_age_s: int | None = None
    pii_detected: tuple[str, ...] = ()
    prompt: PromptRef | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tools_used: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    accepted_at: datetime | None = None
    attempt: int = 1
    error: ErrorInfo | None = None
    repeat: bool = False
    replay: int = 0
    embeddings: Embeddings | None = None


class WebhookDue(Event, frozen=True, kw_only=True):
    """A request has ended, and `url` is to be told. The reply is the one that was stored and sent already."""

    request_id: str
    tenant: str
    url: str
    reply: Reply


class Payload(Event, frozen=True, kw_only=True):
    """The texts of a request: kept apart, and only where the tenant allows storing them."""

    request_text: str
    reply_text: str


class RequestLog(Event, frozen=True, kw_only=True):
    """The one complete record of a request, for analysts. Field names are ClickHouse's columns."""

    request_id: str
    tenant: str
    user_id: str
    tier: str
    accepted_at: datetime
    finished_at: datetime
    status: Status
    latency_ms: float
    prompt_template: str = ""
    prompt_version: str = ""
    experiment: str = ""
    arm: str = ""
    session_id: str = ""
    model: str = ""
    provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    usage_estimated: bool = False
    service_tier: str = STANDARD_TIER
    long_context: bool = False
    cost_usd: Decimal = Decimal(0)
    price_version: str = ""
    cache_hit: bool = False
    cache_kind: str = ""
    cache_similarity: float | None = None
    guardrail_input_pass: bool = True
    guardrail_input_rule: str = ""
    guardrail_output_pass: bool = True
    guardrail_output_rule: str = ""
    pii_types: tuple[str, ...] = ()
    output_flags: tuple[str, ...] = ()
    tools_used: tuple[str, ...] = ()
    finish_reason: str = ""
    fallback: bool = False
    stream: bool = False
    error: str | None = None
    error_code: str = ""
    timings: tuple[Timing, ...] = ()
    calls: tuple[LlmCall, ...] = ()
    payload: Payload | None = None


class LedgerEntry(Event, frozen=True, kw_only=True):
    """One booking. `entry_id` is derived from the request, so that a repeat is recognised.

    A *settle* entry states what its request has cost in all. Where a dead letter of the request was replayed
    there is one more with the same id and a higher `replay`: it replaces the former. `usage`: the tokens of
    all calls that the amount is for, at the prices of `price_version`; absent from entries of old.
    """

    entry_id: str
    request_id: str
    tenant: str
    user_id: str
    kind: Literal["reserve", "settle", "release"]
    amount_usd: Decimal
    booked_at: datetime
    replay: int = 0
    usage: Usage | None = None
    price_version: str = ""


class FeedbackGiven(Event, frozen=True, kw_only=True):
    """What somebody thinks of a request's answer: its user, a reviewer, a judge model or a check.

    `value` is -1,000,000 to 1,000,000; a label of `streams.request_rules.feedback.LABELS` says it, too.
    `score_id` tells the scores of one request apart. Without it there is one for each `name`, `source` and
    `scorer` (`streams.request_rules.feedback`), and giving it again corrects it: of two the one with the
    later `scored_at` counts, which is the record's timestamp where it is not given. `accepted_at` is when the
    request was accepted, where the sender knows that: the request is found faster.
    """

    request_id: RequestId
    tenant: Name | None = None
    name: ScoreName = "thumbs"
    value: Decimal | None = None
    label: ScoreLabel = ""
    comment: ScoreComment = ""
    source: ScoreSource = "user"
    scorer: Scorer = ""
    score_id: ScoreId | None = None
    scored_at: Annotated[datetime, Meta(tz=True)] | None = None
    accepted_at: Annotated[datetime, Meta(tz=True)] | None = None


class DeadLetterAction(Event, frozen=True, kw_only=True):
    """What an operator did with a dead letter: the audit trail of `headrace dlq`.

    `dead_letter` is its place in the dead-letter topic, ``partition:offset``.
    """

    dead_letter: str
    action: Literal["replayed", "discarded"]
    by: str
    at: datetime
    reason: str = ""
    request_id: str | None = None
    topic: str | None = None


class AlertRaised(Event, frozen=True, kw_only=True):
    """An alert has begun (`raised`) or is over (`resolved`).

    `alert_id` is derived from the rule, the direction, the tenant and the window it began with: both records
    of an alert have it, and no other alert does. `tenant` is empty where all tenants together are meant.
    `observed` and `expected` are measures in `unit`, not amounts to be booked: `usd`, `ms`, `ratio` (0 to 1),
    `s` or `records`. `p_value` is that of the window that decided, where the rule is a test;
    `history_windows` how many earlier windows it was compared with.
    """

    alert_id: str
    rule: str
    state: Literal["raised", "resolved"]
    severity: Literal["warning", "critical"]
    direction: Literal["above", "below"]
    observed: float
    expected: float
    unit: str
    method: str
    message: str
    window_since: Annotated[datetime, Meta(tz=True)]
    window_until: Annotated[datetime, Meta(tz=True)]
    began_at: Annotated[datetime, Meta(tz=True)]
    at: Annotated[datetime, Meta(tz=True)]
    tenant: str = ""
    p_value: float | None = None
    history_windows: int = 0


ErasureMode = Literal["anonymise", "delete"]


class Erasure(Event, frozen=True, kw_only=True):
    """A user is to be forgotten, as far as what was accepted until then. It names nobody.

    `digest` is the record's key: `streams.erasure.erasures.digest_of` the user, under `salt`. `pseudonym`
    takes the user's place where `mode` is *anonymise*; with *delete* there are no rows left.
    """

    digest: str
    salt: str
    tenant: str
    mode: ErasureMode
    pseudonym: str
    until: Annotated[datetime, Meta(tz=True)]

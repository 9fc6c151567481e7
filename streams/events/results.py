"""What a request leaves behind: deltas, the reply, a webhook, a log record, ledger entries."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from streams.events.envelope import (
    CacheKind,
    Embeddings,
    ErrorInfo,
    LlmCall,
    PromptRef,
    Status,
    Timing,
    Usage,
)
from streams.events.requests import Event
from streams.models import STANDARD_TIER


class Delta(Event, frozen=True, kw_only=True):
    """A checked piece of a streamed answer. A higher `attempt` replaces all pieces of lower ones.

    `cache_kind` is in the first piece of an attempt (`seq` 0) only.
    """

    request_id: str
    attempt: int
    seq: int
    text: str
    cache_kind: CacheKind | None = None


class Reply(Event, frozen=True, kw_only=True):
    """The one terminal reply of a request.

    `similarity` is the cosine of the question and the cached one; `pii_detected` what was redacted. A
    `repeat` is the stored reply to a request that was sent again. `replay` is how often an operator replayed
    the request's dead letter: the reply with the highest counts.
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
    """A webhook to send: the reply, stored and sent already, goes to `url`."""

    request_id: str
    tenant: str
    url: str
    reply: Reply


class Payload(Event, frozen=True, kw_only=True):
    """The texts of a request, stored apart, and only where the tenant allows it."""

    request_text: str
    reply_text: str


class RequestLog(Event, frozen=True, kw_only=True):
    """The one complete record of a request for analysts. Field names are ClickHouse's columns."""

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
    """One booking. `entry_id` is derived from the request, so that a second copy is recognised.

    A *settle* entry states the total cost of its request. A replayed dead letter adds one with the same id
    and a higher `replay`, which replaces the former. `usage` is the sum of all calls, at the prices of
    `price_version`; old entries have none.
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

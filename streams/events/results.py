"""What comes of a request: deltas, reply, webhook, log and ledger; and what people and operators write."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta

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
from streams.events.requests import Event, Name, RequestId
from streams.model_catalogue import STANDARD_TIER


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


ScoreName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$(?!\n)")]
ScoreId = RequestId
ScoreLabel = Annotated[str, Meta(max_length=64)]
ScoreSource = Literal["user", "human", "judge", "check"]
Scorer = Annotated[str, Meta(max_length=128)]
ScoreComment = Annotated[str, Meta(max_length=4_000)]


class FeedbackGiven(Event, frozen=True, kw_only=True):
    """A score of a request's answer, by its user, a reviewer, a judge model or a check.

    `value` is -1,000,000 to 1,000,000; a label of `streams.request_rules.feedback.LABELS` stands for one.
    `score_id` tells the scores of one request apart; without it there is one score per `name`, `source` and
    `scorer`. A score with a later `scored_at` (default: the record's timestamp) replaces the former.
    `accepted_at` of the request, if given, makes the request quicker to find.
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


ErasureMode = Literal["anonymise", "delete"]


class DeadLetterAction(Event, frozen=True, kw_only=True):
    """What an operator did with a dead letter: the audit trail of `headrace dlq`.

    `dead_letter` is ``partition:offset`` in the dead-letter topic.
    """

    dead_letter: str
    action: Literal["replayed", "discarded"]
    by: str
    at: datetime
    reason: str = ""
    request_id: str | None = None
    topic: str | None = None


class AlertRaised(Event, frozen=True, kw_only=True):
    """The begin (`raised`) or the end (`resolved`) of an alert; both records have the same `alert_id`.

    `tenant` is empty where all tenants together are meant. `observed` and `expected` are in `unit`: `usd`,
    `ms`, `ratio` (0 to 1), `s` or `records`. `p_value` belongs to rules that are statistical tests;
    `history_windows` is the number of earlier windows of the comparison.
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


class Erasure(Event, frozen=True, kw_only=True):
    """An order to erase what was accepted of a user before `until`. It contains no name.

    `digest` is the record's key: `streams.erasure.digest_of` the user, under `salt`. `pseudonym`
    replaces the user where `mode` is *anonymise*; with *delete* no rows are left.
    """

    digest: str
    salt: str
    tenant: str
    mode: ErasureMode
    pseudonym: str
    until: Annotated[datetime, Meta(tz=True)]

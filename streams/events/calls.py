"""Provider calls, and what an answer is made of."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events.event import Event
from streams.models import STANDARD_TIER


class ErrorInfo(Event, frozen=True, kw_only=True):
    """A failure as the sender reads it: the fields of OpenAI's error object."""

    type: str
    code: str
    message: str
    param: str | None = None


class Usage(Event, frozen=True, kw_only=True, omit_defaults=False):
    """The tokens of a call.

    Attributes:
        input_tokens: all of the prompt, cached and cache-written tokens included.
        output_tokens: all of the answer, reasoning included.
        cached_tokens: read from the provider's prompt cache.
        cache_write_tokens: written to that cache.
        cache_write_1h_tokens: those of them that are kept for an hour instead of five minutes.
        estimated: some counts are our own, because the provider reported none or impossible ones.
        service_tier: as the provider reports it; OpenAI's `default` is `standard`.
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

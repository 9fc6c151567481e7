"""What a call costs, line by line as a provider's bill has it.

It shares the price table with Headrace's ledger, and none of its arithmetic: comparing the invoice with the
ledger compares two computations.
"""

from decimal import Decimal
from typing import Annotated

import msgspec

from streams.models import STANDARD_TIER, Model

_MILLION = 1_000_000
_NANO_USD = Decimal("0.000000001")
_TokenCount = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class BilledUsage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tokens that a call is billed for, and the service tier.

    `input_tokens` includes `cached_tokens` and `cache_write_tokens`, and those the ones written for an hour;
    `output_tokens` includes `reasoning_tokens`.
    """

    input_tokens: _TokenCount = 0
    output_tokens: _TokenCount = 0
    cached_tokens: _TokenCount = 0
    cache_write_tokens: _TokenCount = 0
    cache_write_1h_tokens: _TokenCount = 0
    reasoning_tokens: _TokenCount = 0
    service_tier: Annotated[str, msgspec.Meta(max_length=32)] = STANDARD_TIER

    def __post_init__(self) -> None:
        if self.cached_tokens + self.cache_write_tokens > self.input_tokens:
            raise ValueError("`cached_tokens` and `cache_write_tokens` are more than `input_tokens`")
        if self.cache_write_1h_tokens > self.cache_write_tokens:
            raise ValueError("`cache_write_1h_tokens` is more than `cache_write_tokens`")
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("`reasoning_tokens` is more than `output_tokens`")


def charge_usd(model: Model, usage: BilledUsage) -> Decimal:
    """Return what a chat call costs, in US dollars, to the nano-dollar."""
    tier = model.service_tiers.get(usage.service_tier)
    input_usd = tier.input_usd if tier else model.input_usd_per_million
    cached_usd = tier.cached_input_usd if tier else model.cached_input_usd_per_million
    output_usd = tier.output_usd if tier else model.output_usd_per_million
    long = model.long_context
    if long is not None and usage.input_tokens > long.above_tokens:
        input_usd, cached_usd = input_usd * long.input_times, cached_usd * long.input_times
        output_usd *= long.output_times
    reasoning_usd = output_usd
    if model.reasoning_usd_per_million is not None:
        reasoning_usd = output_usd * model.reasoning_usd_per_million / model.output_usd_per_million
    hourly, written = usage.cache_write_1h_tokens, usage.cache_write_tokens
    lines = (
        (usage.input_tokens - usage.cached_tokens - written, input_usd),
        (usage.cached_tokens, cached_usd),
        (written - hourly, input_usd * model.cache_write_times),
        (hourly, input_usd * model.cache_write_1h_times),
        (usage.output_tokens - usage.reasoning_tokens, output_usd),
        (usage.reasoning_tokens, reasoning_usd),
    )
    return _per_million(sum((tokens * usd for tokens, usd in lines), Decimal(0)))


def embedding_charge_usd(usd_per_million: Decimal, usage: BilledUsage) -> Decimal:
    """Return what an embeddings call costs, in US dollars, to the nano-dollar."""
    return _per_million(usage.input_tokens * usd_per_million)


def _per_million(usd: Decimal) -> Decimal:
    return (usd / _MILLION).quantize(_NANO_USD)

"""The shipped models: provider, limits and the versioned price table.

Control records add to them and change them: `streams.control.catalogue`.

Prices are US dollars per million tokens, as the providers publish them. A change of a shipped price is a new
`PRICE_VERSION`; every booked call keeps its version. The cost of a call depends on the tokens of each kind,
on the service tier that the provider reports, and, of some models, on whether the prompt is long: then all
tokens of the call are dearer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec
from rs_bpe import openai

PRICE_VERSION = "2026-11-30"

#: OpenAI's `default`. A tier without prices of its own costs the same.
STANDARD_TIER = "standard"

_TOKENS_PER_PRICE = Decimal(1_000_000)
_NANO_USD = Decimal("0.000000001")


class ProviderProtocol(StrEnum):
    """The API that a provider speaks; also the name of the shipped provider that speaks it."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per million tokens of each kind."""

    input_usd: Decimal
    cached_input_usd: Decimal
    cache_write_usd: Decimal
    cache_write_1h_usd: Decimal
    output_usd: Decimal
    reasoning_usd: Decimal

    def times(self, *, sent: Decimal, said: Decimal) -> "Rates":
        """Return the rates multiplied, those of input by `sent` and those of output by `said`."""
        return Rates(
            input_usd=self.input_usd * sent,
            cached_input_usd=self.cached_input_usd * sent,
            cache_write_usd=self.cache_write_usd * sent,
            cache_write_1h_usd=self.cache_write_1h_usd * sent,
            output_usd=self.output_usd * said,
            reasoning_usd=self.reasoning_usd * said,
        )


class LongContext(msgspec.Struct, frozen=True, kw_only=True):
    """The price of long prompts: with more than `above_tokens` of input all tokens of the call are dearer.

    `most_tokens` is the longest input of accounts that have the long context.
    """

    above_tokens: int
    most_tokens: int
    input_times: Decimal
    output_times: Decimal


class ModelPrices(msgspec.Struct, frozen=True, kw_only=True):
    """What calls to a model cost. `service_tiers` are the tiers beside the standard one."""

    name: str
    price: Rates
    price_version: str = PRICE_VERSION
    service_tiers: Mapping[str, Rates] = {}
    long_context: LongContext | None = None

    def is_long(self, input_tokens: int) -> bool:
        """Whether a prompt is priced as a long one."""
        return self.long_context is not None and input_tokens > self.long_context.above_tokens

    def rates(self, service_tier: str = STANDARD_TIER, *, long_context: bool = False) -> Rates:
        """Return the prices at a tier; those of the standard one for an unknown tier."""
        rates = self.service_tiers.get(service_tier, self.price)
        if long_context and self.long_context is not None:
            return rates.times(sent=self.long_context.input_times, said=self.long_context.output_times)
        return rates

    def price_list(self) -> Iterator[tuple[str, bool, Rates]]:
        """Yield all prices: the service tier, whether for long prompts, and the rates."""
        for tier in (STANDARD_TIER, *self.service_tiers):
            for long_context in (False, True) if self.long_context else (False,):
                yield tier, long_context, self.rates(tier, long_context=long_context)

    def cost_usd(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        reasoning_tokens: int = 0,
        service_tier: str = STANDARD_TIER,
    ) -> Decimal:
        """Price one call, exact to the nano-dollar.

        `input_tokens` includes `cached_tokens` and `cache_write_tokens`, and those `cache_write_1h_tokens`;
        `output_tokens` includes `reasoning_tokens`.
        """
        rates = self.rates(service_tier, long_context=self.is_long(input_tokens))
        total = (
            (input_tokens - cached_tokens - cache_write_tokens) * rates.input_usd
            + cached_tokens * rates.cached_input_usd
            + (cache_write_tokens - cache_write_1h_tokens) * rates.cache_write_usd
            + cache_write_1h_tokens * rates.cache_write_1h_usd
            + (output_tokens - reasoning_tokens) * rates.output_usd
            + reasoning_tokens * rates.reasoning_usd
        )
        return (total / _TOKENS_PER_PRICE).quantize(_NANO_USD)


class Model(ModelPrices, frozen=True, kw_only=True):
    """One model: its provider, limits and prices. `upstream_name` is what its provider calls it."""

    provider: str
    protocol: ProviderProtocol
    upstream_name: str
    context_window_tokens: int
    max_output_tokens: int

    def named(self, answered: str) -> str:
        """Return what replies call the model that has answered: its own name for it is ours here."""
        return self.name if answered == self.upstream_name else answered

    @property
    def longest_input_tokens(self) -> int:
        """The most tokens that one prompt can have."""
        return max(self.context_window_tokens, self.long_context.most_tokens if self.long_context else 0)


class EmbeddingModel(Model, frozen=True, kw_only=True):
    """A model for embeddings; chat requests cannot name it.

    `context_window_tokens` is the length of one input. `takes_dimensions`: whether shorter vectors than
    `max_dimensions` are possible.
    """

    max_dimensions: int
    takes_dimensions: bool


#: Name, provider, context window, most output tokens, and US dollars per million tokens: input, cached input,
#: output; then the same three in OpenAI's priority tier. A model without the last three has the standard tier
#: only (Anthropic's have their own tiers: `_service_tiers`).
_CHAT_MODELS = """
gpt-4o                    openai     128000  16384    2.50  1.25   10.00   4.25  2.125  17.00
gpt-4o-mini               openai     128000  16384    0.15  0.075   0.60   0.25  0.125   1.00
claude-sonnet-4-20250514  anthropic  200000  64000    3.00  0.30   15.00
claude-3-5-sonnet         anthropic  200000   8192    3.00  0.30   15.00
claude-3-opus             anthropic  200000   4096   15.00  1.50   75.00
"""
#: Their dimensions, whether shorter vectors are possible, and US dollars per million tokens of input.
_EMBEDDING_MODELS = """
text-embedding-3-small  1536  shorter  0.02
text-embedding-3-large  3072  shorter  0.13
text-embedding-ada-002  1536  fixed    0.10
"""
#: The million tokens of context are for some accounts.
_LONG_CONTEXTS = {
    "claude-sonnet-4-20250514": LongContext(
        above_tokens=200_000, most_tokens=1_000_000, input_times=Decimal(2), output_times=Decimal("1.5")
    )
}


def _rates(usd: Sequence[str], *, times: Decimal = Decimal(1), is_anthropic: bool = False) -> Rates:
    """Return the rates of the three prices in a row. Anthropic's cache writes are dearer than its input."""
    input_usd, cached_usd, output_usd = (Decimal(each) * times for each in usd)
    return Rates(
        input_usd=input_usd,
        cached_input_usd=cached_usd,
        cache_write_usd=input_usd * (Decimal("1.25") if is_anthropic else 1),
        cache_write_1h_usd=input_usd * (2 if is_anthropic else 1),
        output_usd=output_usd,
        reasoning_usd=output_usd,
    )


def _service_tiers(
    protocol: ProviderProtocol, usd: Sequence[str], priority: Sequence[str]
) -> dict[str, Rates]:
    half = Decimal("0.5")
    if protocol is ProviderProtocol.ANTHROPIC:  # its priority is paid for by commitment
        return {
            "batch": _rates(usd, times=half, is_anthropic=True),
            "priority": _rates(usd, is_anthropic=True),
        }
    if not priority:
        return {}
    cheap, fast = _rates(usd, times=half), _rates(priority)  # "fast" is the newer name of priority
    return {"flex": cheap, "batch": cheap, "priority": fast, "fast": fast, "scale": _rates(usd)}


def _chat_model(row: str) -> Model:
    name, served_by, context, output, *usd = row.split()
    protocol = ProviderProtocol(served_by)
    return Model(
        name=name,
        provider=served_by,
        protocol=protocol,
        upstream_name=name,
        context_window_tokens=int(context),
        max_output_tokens=int(output),
        price=_rates(usd[:3], is_anthropic=protocol is ProviderProtocol.ANTHROPIC),
        service_tiers=_service_tiers(protocol, usd[:3], usd[3:]),
        long_context=_LONG_CONTEXTS.get(name),
    )


def _embedding_model(row: str) -> EmbeddingModel:
    name, dimensions, lengths, usd = row.split()
    return EmbeddingModel(
        name=name,
        provider=ProviderProtocol.OPENAI.value,
        protocol=ProviderProtocol.OPENAI,
        upstream_name=name,
        context_window_tokens=8192,
        max_output_tokens=0,
        price=_rates((usd, usd, "0")),
        max_dimensions=int(dimensions),
        takes_dimensions=lengths == "shorter",
    )


MODELS: dict[str, Model] = {
    model.name: model for model in map(_chat_model, _CHAT_MODELS.strip().splitlines())
}
EMBEDDING_MODELS: dict[str, EmbeddingModel] = {
    model.name: model for model in map(_embedding_model, _EMBEDDING_MODELS.strip().splitlines())
}
#: Every shipped model.
PRICED_MODELS: dict[str, Model] = {**MODELS, **EMBEDDING_MODELS}


_TOKENS_PER_MESSAGE = 3
_TOKENS_TO_PRIME_REPLY = 3


@cache
def _o200k() -> Any:
    return openai.o200k_base()


def count_text(text: str) -> int:
    """Return the number of o200k_base tokens in `text`."""
    return int(_o200k().count(text))


def count_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the number of input tokens of chat messages in OpenAI's wire shape."""
    total = _TOKENS_TO_PRIME_REPLY
    for message in messages:
        total += _TOKENS_PER_MESSAGE
        for key, value in message.items():
            if value is None:
                continue
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            total += count_text(text) + (1 if key == "name" else 0)
    return total

"""The catalogue of models: provider, limits and the versioned price table.

Prices are US dollars per million tokens, as the providers publish them. A change of price is a new
`PRICE_VERSION`; every booked call keeps the version it was priced with.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

PRICE_VERSION = "2026-11-29"

_TOKENS_PER_PRICE = Decimal(1_000_000)
_NANO_USD = Decimal("0.000000001")


class ProviderName(StrEnum):
    """Who serves a model."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model: where it is served, what it can take, what it costs."""

    name: str
    provider: ProviderName
    context_window_tokens: int
    max_output_tokens: int
    input_usd_per_million: Decimal
    cached_input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    #: What a token costs that is written to the prompt cache for five minutes, or an hour, in input tokens.
    cache_write_times: Decimal = Decimal(1)
    cache_write_1h_times: Decimal = Decimal(1)

    def cost_usd(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
    ) -> Decimal:
        """Price one call, exact to the nano-dollar.

        `input_tokens` includes `cached_tokens` and `cache_write_tokens`, and those `cache_write_1h_tokens`.
        """
        written = (cache_write_tokens - cache_write_1h_tokens) * self.cache_write_times
        written += cache_write_1h_tokens * self.cache_write_1h_times
        total = (
            (input_tokens - cached_tokens - cache_write_tokens + written) * self.input_usd_per_million
            + cached_tokens * self.cached_input_usd_per_million
            + output_tokens * self.output_usd_per_million
        )
        return (total / _TOKENS_PER_PRICE).quantize(_NANO_USD)


class EmbeddingModel(Model, frozen=True, kw_only=True):
    """A model that makes embeddings, and writes nothing: chat requests cannot name it.

    `context_window_tokens` is the length of one input. `takes_dimensions`: whether shorter vectors than
    `max_dimensions` can be asked for.
    """

    max_dimensions: int
    takes_dimensions: bool


#: As Anthropic publishes them for all its models.
_CACHE_WRITES = {"cache_write_times": Decimal("1.25"), "cache_write_1h_times": Decimal(2)}


def _model(
    name: str,
    provider: ProviderName,
    *,
    context: int,
    output: int,
    usd: tuple[str, str, str],
) -> Model:
    input_usd, cached_usd, output_usd = usd
    return Model(
        name=name,
        provider=provider,
        context_window_tokens=context,
        max_output_tokens=output,
        input_usd_per_million=Decimal(input_usd),
        cached_input_usd_per_million=Decimal(cached_usd),
        output_usd_per_million=Decimal(output_usd),
        **(_CACHE_WRITES if provider is ProviderName.ANTHROPIC else {}),
    )


_CATALOGUE = (
    _model("gpt-4o", ProviderName.OPENAI, context=128_000, output=16_384, usd=("2.50", "1.25", "10.00")),
    _model("gpt-4o-mini", ProviderName.OPENAI, context=128_000, output=16_384, usd=("0.15", "0.075", "0.60")),
    _model(
        "claude-sonnet-4-20250514",
        ProviderName.ANTHROPIC,
        context=200_000,
        output=64_000,
        usd=("3.00", "0.30", "15.00"),
    ),
    _model(
        "claude-3-5-sonnet",
        ProviderName.ANTHROPIC,
        context=200_000,
        output=8_192,
        usd=("3.00", "0.30", "15.00"),
    ),
    _model(
        "claude-3-opus",
        ProviderName.ANTHROPIC,
        context=200_000,
        output=4_096,
        usd=("15.00", "1.50", "75.00"),
    ),
)

MODELS: dict[str, Model] = {model.name: model for model in _CATALOGUE}


def _embedding_model(
    name: str, *, dimensions: int, usd: str, takes_dimensions: bool = True
) -> EmbeddingModel:
    return EmbeddingModel(
        name=name,
        provider=ProviderName.OPENAI,
        context_window_tokens=8192,
        max_output_tokens=0,
        input_usd_per_million=Decimal(usd),
        cached_input_usd_per_million=Decimal(usd),
        output_usd_per_million=Decimal(0),
        max_dimensions=dimensions,
        takes_dimensions=takes_dimensions,
    )


_EMBEDDING_CATALOGUE = (
    _embedding_model("text-embedding-3-small", dimensions=1536, usd="0.02"),
    _embedding_model("text-embedding-3-large", dimensions=3072, usd="0.13"),
    _embedding_model("text-embedding-ada-002", dimensions=1536, usd="0.10", takes_dimensions=False),
)

EMBEDDING_MODELS: dict[str, EmbeddingModel] = {model.name: model for model in _EMBEDDING_CATALOGUE}

#: Every model that a call may be booked for.
PRICED_MODELS: dict[str, Model] = {**MODELS, **EMBEDDING_MODELS}

EMBEDDING_USD_PER_MILLION: dict[str, Decimal] = {
    name: model.input_usd_per_million for name, model in EMBEDDING_MODELS.items()
}

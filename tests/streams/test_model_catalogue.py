"""Prices."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.simulator.invoice import BilledUsage, charge_usd
from streams.model_catalogue import (
    EMBEDDING_MODELS,
    MODELS,
    PRICED_MODELS,
    Model,
    ProviderProtocol,
    _service_tiers,
)

TOKENS = st.integers(0, 2_000_000)


@pytest.mark.parametrize(
    ("name", "tokens", "usd"),
    [
        ("gpt-4o", (1_000_000, 0, 0), "2.5"),
        ("gpt-4o", (0, 1_000_000, 0), "10"),
        ("gpt-4o", (1_000_000, 0, 1_000_000), "1.25"),
        ("gpt-4o", (1_234, 567, 1_000), "0.007505"),
        ("gpt-4o-mini", (1, 0, 1), "0.000000075"),
        ("gpt-4o-mini", (12, 7, 0), "0.000006"),
        ("claude-sonnet-4-20250514", (1_000, 500, 400), "0.00942"),
        ("claude-3-opus", (3, 1, 0), "0.00012"),
        ("claude-3-5-sonnet", (0, 0, 0), "0"),
    ],
)
def test_exact_prices(name: str, tokens: tuple[int, int, int], usd: str) -> None:
    """Worked out by hand from the price table; cached tokens are part of the input tokens."""
    given_in, given_out, cached = tokens
    cost = MODELS[name].cost_usd(input_tokens=given_in, output_tokens=given_out, cached_tokens=cached)
    assert cost == Decimal(usd)
    assert -cost.as_tuple().exponent == 9  # type: ignore[operator]


def nano_per_token(model: Model) -> tuple[int, int, int]:
    """The prices in whole nano-dollars a token times 1000, so that integers suffice."""
    prices = (model.price.input_usd, model.price.cached_input_usd, model.price.output_usd)
    scaled = tuple(price * 1_000_000 for price in prices)
    assert all(price == int(price) for price in scaled)
    return tuple(int(price) for price in scaled)  # type: ignore[return-value]


@settings(max_examples=30)
@given(
    calls=st.lists(st.tuples(st.sampled_from(sorted(MODELS)), TOKENS, TOKENS, st.floats(0, 1)), max_size=50),
)
def test_the_sum_of_many_calls_is_the_integer_arithmetic(calls: list[tuple[str, int, int, float]]) -> None:
    """No rounding in any call: what is booked call by call is what the tokens cost together."""
    booked, pico = Decimal(0), 0
    for name, given_in, given_out, share in calls:
        cached = int(given_in * share)
        model = MODELS[name]
        booked += model.cost_usd(input_tokens=given_in, output_tokens=given_out, cached_tokens=cached)
        fresh_price, cached_price, out_price = nano_per_token(model)
        sent, said = (4, 3) if model.is_long(given_in) else (2, 2)  # of a half
        pico += ((given_in - cached) * fresh_price + cached * cached_price) * sent // 2
        pico += given_out * out_price * said // 2
    assert booked == Decimal(pico) / 10**12


@pytest.mark.parametrize(
    ("name", "tokens", "usd"),
    [
        ("gpt-4o", {"service_tier": "flex"}, "6.25"),
        ("gpt-4o", {"service_tier": "priority"}, "21.25"),
        ("gpt-4o", {"service_tier": "scale"}, "12.5"),
        ("gpt-4o", {"service_tier": "of another server"}, "12.5"),
        ("gpt-4o-mini", {"service_tier": "priority", "cached_tokens": 500_000}, "1.1875"),
        ("claude-3-opus", {"service_tier": "batch"}, "45"),
        ("claude-3-opus", {"service_tier": "priority"}, "90"),
        # long prompts of the models that have them: input twice, output one and a half times, cache and all
        ("claude-3-5-sonnet", {}, "18"),
        ("claude-sonnet-4-20250514", {}, "28.5"),
        ("claude-sonnet-4-20250514", {"input_tokens": 200_000}, "15.6"),
        ("claude-sonnet-4-20250514", {"input_tokens": 200_001, "output_tokens": 0}, "1.200006"),
        ("claude-sonnet-4-20250514", {"service_tier": "batch"}, "14.25"),
        (
            "claude-sonnet-4-20250514",
            {"cached_tokens": 100_000, "cache_write_tokens": 600_000, "cache_write_1h_tokens": 200_000},
            # 300,000 at 6, 100,000 at 0.60, 400,000 at 7.50, 200,000 at 12, 1,000,000 at 22.50
            "29.76",
        ),
    ],
)
def test_prices_by_tier_and_by_length(name: str, tokens: dict[str, Any], usd: str) -> None:
    """Of a million tokens each way, worked out by hand; the simulator's bill comes to the same."""
    given = {"input_tokens": 1_000_000, "output_tokens": 1_000_000} | tokens
    assert MODELS[name].cost_usd(**given) == Decimal(usd)
    assert charge_usd(MODELS[name], BilledUsage(**given)) == Decimal(usd)


def test_reasoning_may_have_a_price_of_its_own() -> None:
    """Without one it costs what output costs."""
    thinker = msgspec.structs.replace(
        MODELS["gpt-4o"], price=msgspec.structs.replace(MODELS["gpt-4o"].price, reasoning_usd=Decimal(2))
    )
    tokens = {"input_tokens": 0, "output_tokens": 1_000_000, "reasoning_tokens": 250_000}
    assert MODELS["gpt-4o"].cost_usd(**tokens) == Decimal(10)
    assert thinker.cost_usd(**tokens) == Decimal(8)


def test_the_catalogue_is_keyed_by_name() -> None:
    """And every model can answer something within its window."""
    for name, model in MODELS.items():
        assert model.name == name
        assert 0 < model.max_output_tokens < model.context_window_tokens
        assert model.price.cached_input_usd <= model.price.input_usd


@pytest.mark.parametrize(
    ("name", "tokens", "usd"),
    [
        ("text-embedding-3-small", 1_000_000, "0.02"),
        ("text-embedding-3-large", 1_001, "0.00013013"),
        ("text-embedding-ada-002", 7, "0.0000007"),
        ("text-embedding-3-small", 1, "0.00000002"),
    ],
)
def test_exact_prices_of_embeddings(name: str, tokens: int, usd: str) -> None:
    """Only the texts cost anything."""
    assert EMBEDDING_MODELS[name].cost_usd(input_tokens=tokens, output_tokens=0) == Decimal(usd)


def test_no_embedding_model_can_be_asked_to_chat() -> None:
    """Routing, limits and fallbacks go by the chat models alone; prices by all."""
    assert not EMBEDDING_MODELS.keys() & MODELS.keys()
    assert PRICED_MODELS.keys() == EMBEDDING_MODELS.keys() | MODELS.keys()
    assert {model.max_output_tokens for model in EMBEDDING_MODELS.values()} == {0}


def test_a_model_without_prices_of_a_priority_tier_has_the_standard_tier_only() -> None:
    """So a row of a provider without service tiers needs three prices."""
    assert _service_tiers(ProviderProtocol.OPENAI, ("1.00", "0.10", "2.00"), ()) == {}

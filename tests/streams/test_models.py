"""Prices."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.models import EMBEDDING_MODELS, MODELS, PRICED_MODELS, Model

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
    prices = (model.input_usd_per_million, model.cached_input_usd_per_million, model.output_usd_per_million)
    scaled = tuple(price * 1_000_000 for price in prices)
    assert all(price == int(price) for price in scaled)
    return tuple(int(price) for price in scaled)  # type: ignore[return-value]


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
        pico += (given_in - cached) * fresh_price + cached * cached_price + given_out * out_price
    assert booked == Decimal(pico) / 10**12


def test_the_catalogue_is_keyed_by_name() -> None:
    """And every model can answer something within its window."""
    for name, model in MODELS.items():
        assert model.name == name
        assert 0 < model.max_output_tokens < model.context_window_tokens
        assert model.cached_input_usd_per_million <= model.input_usd_per_million


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

"""Prices of models whose record states none."""

from decimal import Decimal
from typing import Any

import pytest

from streams.control.catalogue import prices_of
from streams.control.document import read_document
from streams.control.known_prices import with_known_price
from streams.control.specs import ControlId, InvalidControl, ModelSpec, read_spec
from streams.model_catalogue import MODELS, ModelPrices

TOKENS = {"context_window_tokens": 100_000, "max_output_tokens": 4_096}


def prices(provider: str, model: str) -> ModelPrices:
    """What a record of a model costs that states no price."""
    of = ControlId("model", model)
    spec = read_spec("model", model, with_known_price(of, {"provider": provider, **TOKENS}))
    assert isinstance(spec, ModelSpec)
    return prices_of(model, spec, version=1)


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-20250514"])
def test_they_are_those_of_the_shipped_models(name: str) -> None:
    """Two sources, one price: input, output, and what is read from the cache or written to it."""
    assert prices(MODELS[name].provider, name).price == MODELS[name].price


def test_the_steps_of_long_prompts() -> None:
    """Twice the input and one and a half times the output, above 200,000 tokens."""
    found = prices("google", "gemini-2.5-pro")
    assert found.long_context is not None
    assert found.long_context.above_tokens == 200_000
    assert (found.long_context.input_times, found.long_context.output_times) == (2, Decimal("1.5"))


def test_a_stated_price_stays() -> None:
    """And records of other kinds are as they were."""
    spec: dict[str, Any] = {"provider": "openai", "price": {"input_usd_per_million": 0}}
    assert with_known_price(ControlId("model", "gpt-4o"), spec) is spec
    assert with_known_price(ControlId("limit", "free"), {}) == {}
    assert with_known_price(ControlId("model", "gpt-4o"), None) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("ollama", "llama3.2"),
        ("openai", "no-such-model-at-all"),
        ("my-openai", "gpt-4o"),
        ("mistral-local", "mistral-large-latest"),
        ("deepseek", "deepseek-chat"),
    ],
)
def test_what_is_not_known_must_be_stated(provider: str, model: str) -> None:
    """Never zero by accident."""
    with pytest.raises(InvalidControl, match=rf"models\.{model}\.price: .*state the price; 0 is one"):
        with_known_price(ControlId("model", model), {"provider": provider, **TOKENS})


def test_a_file_without_a_price() -> None:
    """It is read with the price, so that a dry run shows it."""
    text = """
    models:
      house:
        provider: mistral
        upstream_name: mistral-large-latest
        context_window_tokens: 128000
        max_output_tokens: 4096
    """
    found = read_document(text)[ControlId("model", "house")]
    assert found is not None
    assert found["price"] == {"input_usd_per_million": "2", "output_usd_per_million": "6"}

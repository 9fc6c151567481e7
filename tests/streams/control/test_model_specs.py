"""What control records may say of providers and models, and what a wrong one is told."""

import json
from decimal import Decimal
from typing import Any

import pytest

from streams.control.specs import InvalidControl, ModelSpec, ProviderSpec, read_spec
from tests.fakes.model_records import FREE, model, provider, state_of

EMBEDDING = {"max_output_tokens": 0, "embedding": {"max_dimensions": 768}}


def price(**usd: Any) -> dict[str, Any]:
    return {"price": {f"{name}_usd_per_million": value for name, value in usd.items()}}


@pytest.mark.parametrize(
    "url", ["http://localhost:11434/v1", "https://openrouter.ai/api/v1", "http://[::1]:8000"]
)
def test_a_provider_may_be_anywhere(url: str) -> None:
    """Operators write these records, so private addresses are as good as others."""
    spec = read_spec("provider", "ollama", {"protocol": "openai", "base_url": url})
    assert isinstance(spec, ProviderSpec)
    assert (spec.base_url, spec.api_key_env) == (url, None)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"base_url": "localhost:11434"},
            r"^providers\.p: base_url must be an address such as https://host/v1",
        ),
        ({"base_url": "ftp://host/v1"}, "base_url must be an address"),
        ({"base_url": "http://host:99999/v1"}, "base_url must be an address"),
        ({"base_url": "http://host/v1?key=x"}, "without a query"),
        ({"base_url": "http://host/v1\n"}, "base_url must be an address"),
        ({"base_url": "https://me:secret@host/v1"}, "without user and password: .* api_key_env"),
        ({"protocol": "gemini"}, r"^providers\.p\.protocol: Invalid enum value 'gemini'"),
        ({"api_key_env": "sk-123"}, r"^providers\.p\.api_key_env: "),
        ({"api_key": "sk-123"}, "unknown field `api_key`"),
    ],
)
def test_a_wrong_provider_is_told_where_and_why(said: dict[str, Any], message: str) -> None:
    """No secret is taken, and none is repeated."""
    spec = {"protocol": "openai", "base_url": "http://host/v1"} | said
    with pytest.raises(InvalidControl, match=message) as caught:
        read_spec("provider", "p", spec)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("usd", ["0.075", 0.075])
def test_prices_are_exact(usd: str | float) -> None:
    """As text or as a number, also after their way through JSON."""
    said = json.loads(json.dumps(model(**price(input=usd, output=3)).spec))
    spec = read_spec("model", "m", said)
    assert isinstance(spec, ModelSpec)
    assert spec.price.input_usd_per_million == Decimal("0.075")
    assert spec.price.output_usd_per_million == Decimal(3)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"price": None}, r"^models\.m\.price: Expected `object`, got `null`"),
        (price(output=1), r"^models\.m\.price: Object missing required field `input_usd_per_million`"),
        (price(input=1), r"price\.output_usd_per_million must be stated, also of each tier; 0 is a price"),
        (
            {"price": FREE | {"service_tiers": {"flex": {"input_usd_per_million": 1}}}},
            r"price\.output_usd_per_million must be stated",
        ),
        (
            price(input=-1, output=1),
            r"^models\.m\.price: input_usd_per_million must be from 0 to 10,000, got -1",
        ),
        (price(input="NaN", output=1), "input_usd_per_million must be from 0"),
        (price(input="1e9", output=1), "input_usd_per_million must be from 0"),
        (price(input="0.0000001", output=1), "input_usd_per_million must have at most 6 decimals"),
        (price(input="cheap", output=1), r"^models\.m\.price\.input_usd_per_million: "),
        (price(inptu=1, output=1), "unknown field `inptu_usd_per_million`"),
        ({"max_output_tokens": 0}, "max_output_tokens must be from 1 to context_window_tokens"),
        ({"max_output_tokens": 128_001}, r"max_output_tokens must be from 1 to .*\(128000\), got 128001"),
        (EMBEDDING | price(input=1, output=1), "a model for embeddings has no output"),
        (EMBEDDING | {"max_output_tokens": 9, **price(input=1)}, "a model for embeddings has no output"),
    ],
)
def test_a_wrong_model_is_told_where_and_why(said: dict[str, Any], message: str) -> None:
    """No price is ever taken to be zero."""
    with pytest.raises(InvalidControl, match=message):
        read_spec("model", "m", (model().spec or {}) | said)


def test_a_name_has_no_control_characters() -> None:
    """It is written to logs, rows and metrics."""
    with pytest.raises(InvalidControl, match="printable"):
        read_spec("provider", "a\nb", {})
    with pytest.raises(InvalidControl, match="1 to 200"):
        read_spec("model", "", {})


def test_what_records_say_of_each_other_must_be_there() -> None:
    """A model needs its provider, and names are given once."""
    llama = model(aliases=("llama",))
    state_of(provider(), llama).check()
    state_of(model(provider="openai")).check()
    wrong = {
        r"models\.llama3\.2\.provider: there is no provider 'ollama'; there are: anthropic, openai": [llama],
        r"models\.m\.aliases: 'gpt-4o' is already the name of a model": [
            provider(),
            model("m", aliases=("gpt-4o",)),
        ],
        r"models\.m\.aliases: 'llama' is already the name of models\.llama3\.2": [
            provider(),
            llama,
            model("m", aliases=("llama",)),
        ],
        r"models\.e\.embedding: claude speaks anthropic, which has no embeddings": [
            provider("claude", protocol="anthropic"),
            model("e", provider="claude", **EMBEDDING),
        ],
        r"providers\.anthropic\.protocol must be anthropic": [provider("anthropic")],
    }
    for message, records in wrong.items():
        with pytest.raises(InvalidControl, match=message):
            state_of(*records).check()

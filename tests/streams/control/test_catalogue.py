"""The shipped models, overlaid by control records."""

from decimal import Decimal

from streams.control.catalogue import SHIPPED, LiveCatalogue, ModelCatalogue
from streams.model_catalogue import MODELS, PRICE_VERSION, EmbeddingModel, ProviderProtocol
from tests.fakes.model_records import model, provider, record, state_of

DEARER = {"input_usd_per_million": "5", "output_usd_per_million": "20"}


def test_a_record_adds_a_model() -> None:
    """It is found by its name and its aliases, and knows its provider's own name for it."""
    record = model("llama", upstream_name="meta/llama-3.2", aliases=("small", "local"))
    catalogue = ModelCatalogue.of(state_of(provider(), record))
    found = catalogue.chat_model("small")
    assert found is not None
    assert found is catalogue.chat_model("llama")
    assert (found.name, found.upstream_name, found.provider) == ("llama", "meta/llama-3.2", "ollama")
    assert found.protocol is ProviderProtocol.OPENAI
    assert catalogue.embedding_model("llama") is None
    assert [*catalogue.models] == [*MODELS, "llama", *SHIPPED.embedding]


def test_a_record_of_a_shipped_name_changes_the_model_until_it_is_taken_away() -> None:
    """Each booking says which prices it has."""
    live = LiveCatalogue()
    state = state_of(model("gpt-4o", provider="openai", price=DEARER, version=3))
    live.follow(state)
    changed = live.current.chat["gpt-4o"]
    assert changed.cost_usd(input_tokens=1_000, output_tokens=100) == Decimal("0.007")
    assert changed.price_version == "model:gpt-4o@3"
    assert live.current.chat["gpt-4o-mini"] is MODELS["gpt-4o-mini"]
    live.follow(state.learned([record("model", "gpt-4o", None, version=4)]))
    assert live.current.chat == MODELS
    assert live.current.chat["gpt-4o"].price_version == PRICE_VERSION


def test_what_a_price_does_not_say() -> None:
    """Nothing is cheaper than what is stated: cached input costs what input costs."""
    catalogue = ModelCatalogue.of(state_of(provider(), model("m", price=DEARER)))
    rates = catalogue.chat["m"].rates("flex")
    assert (rates.cached_input_usd, rates.cache_write_usd, rates.cache_write_1h_usd) == (5, 5, 5)
    assert (rates.output_usd, rates.reasoning_usd) == (20, 20)


def test_every_kind_of_price() -> None:
    """By service tier and length of prompt, exact."""
    price = DEARER | {
        "cached_input_usd_per_million": "0.5",
        "cache_write_usd_per_million": "6.25",
        "cache_write_1h_usd_per_million": 10,
        "reasoning_usd_per_million": "30",
        "service_tiers": {"flex": {"input_usd_per_million": "2.5", "output_usd_per_million": 10}},
        "long_context": {"above_tokens": 1_000, "input_times": 2, "output_times": "1.5"},
    }
    made = ModelCatalogue.of(state_of(provider(), model("m", price=price))).chat["m"]
    spent = {
        "input_tokens": 1_000,
        "cached_tokens": 100,
        "cache_write_tokens": 300,
        "cache_write_1h_tokens": 100,
        "output_tokens": 100,
        "reasoning_tokens": 50,
    }
    usd = 600 * 5 + 100 * Decimal("0.5") + 200 * Decimal("6.25") + 100 * 10 + 50 * 20 + 50 * 30
    assert made.cost_usd(**spent) == usd / 1_000_000
    assert made.cost_usd(input_tokens=1_000, output_tokens=100, service_tier="flex") == Decimal("0.0035")
    assert made.cost_usd(input_tokens=2_000, output_tokens=100) == Decimal("0.023")


def test_a_model_may_make_embeddings() -> None:
    """Also one that was shipped to chat."""
    embedding = {"embedding": {"max_dimensions": 768}, "max_output_tokens": 0}
    catalogue = ModelCatalogue.of(state_of(provider(), model("gpt-4o", **embedding)))
    found = catalogue.embedding_model("gpt-4o")
    assert isinstance(found, EmbeddingModel)
    assert (found.max_dimensions, found.takes_dimensions) == (768, False)
    assert catalogue.chat_model("gpt-4o") is None


def test_a_model_without_its_provider_is_left_out() -> None:
    """Its record may have been read just before the provider's."""
    assert ModelCatalogue.of(state_of(model())).chat == MODELS


def test_an_answer_is_priced_as_the_model_that_gave_it_at_its_provider() -> None:
    """Another provider's model of the same name has nothing to do with it."""
    records = [
        provider(),
        model("auto", price=DEARER),
        model("small", upstream_name="llama:1b"),
        model("big", upstream_name="gpt-4o", price=DEARER),
    ]
    catalogue = ModelCatalogue.of(state_of(*records))
    auto = catalogue.chat["auto"]
    assert catalogue.priced_as(auto, "llama:1b").name == "small"
    assert catalogue.priced_as(auto, "gpt-4o").name == "big"
    assert catalogue.priced_as(auto, "llama:70b") is auto
    assert catalogue.priced_as(auto, None) is auto
    assert catalogue.priced_as(MODELS["gpt-4o"], "gpt-4o") is MODELS["gpt-4o"]

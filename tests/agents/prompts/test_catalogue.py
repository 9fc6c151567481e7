"""The prompts that ship, and how one is chosen."""

import pytest

from agents.prompts import DEFAULT_TEMPLATE, Experiment, PromptCatalogue, PromptTemplate
from streams.errors import InvalidRequest
from streams.events import PromptRef
from streams.model_catalogue import MODELS


def test_a_template_without_an_experiment_is_its_first_version() -> None:
    """For everybody, and without an arm."""
    template, prompt = PromptCatalogue().resolve("rag_answer", "ann")
    assert prompt == PromptRef(name="rag_answer", version="v1")
    assert (template.name, template.version) == ("rag_answer", "v1")
    assert template.placeholders == ("context", "query")


def test_the_default_template_runs_an_experiment() -> None:
    """Near a tenth of the users see the second version, and the reference says why."""
    catalogue = PromptCatalogue()
    chosen = [catalogue.resolve(DEFAULT_TEMPLATE, f"user-{number}") for number in range(5_000)]
    variants = [prompt for template, prompt in chosen if template.version == "v2"]
    assert 0.085 < len(variants) / len(chosen) < 0.115
    assert set(variants) == {
        PromptRef(name="general_chat", version="v2", experiment="general_chat_v2_test", arm="variant")
    }
    assert {prompt.arm for template, prompt in chosen if template.version == "v1"} == {"control"}


def test_an_unknown_template_is_refused_with_the_known_ones() -> None:
    """By the field that names it."""
    with pytest.raises(
        InvalidRequest, match="known templates: code_review, general_chat, rag_answer"
    ) as caught:
        PromptCatalogue().resolve("poem", "ann")
    assert (caught.value.code, caught.value.param) == ("template_not_found", "template")


def test_the_rendered_version_is_found_again() -> None:
    """The output check needs its instructions; a version that is gone is no fault."""
    catalogue = PromptCatalogue()
    template, prompt = catalogue.resolve("general_chat", "ann")
    assert catalogue.version(prompt) is template
    assert catalogue.version(PromptRef(name="general_chat", version="v99")) is None
    assert catalogue.version(PromptRef(name="poem", version="v1")) is None


def test_a_catalogue_of_ones_own() -> None:
    """Templates and experiments come through the constructor."""
    ours = PromptCatalogue(
        [PromptTemplate(name="t", version=version, text="{query}") for version in ("v1", "v2")],
        [Experiment(name="all", template="t", control="v1", variant="v2", traffic_pct=100)],
    )
    assert ours.resolve("t", "ann")[1] == PromptRef(name="t", version="v2", experiment="all", arm="variant")


def test_what_ships_can_be_served() -> None:
    """Models that there are, and answers within their limits."""
    catalogue = PromptCatalogue()
    for name in ("general_chat", "rag_answer", "code_review"):
        template, _ = catalogue.resolve(name, "ann")
        assert template.max_output_tokens <= MODELS[template.model].max_output_tokens

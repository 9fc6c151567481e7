"""Which models are asked, as a table."""

import pytest

from agents.llm.chat_calls import longest_output, route
from streams.control.catalogue import SHIPPED
from streams.model_catalogue import MODELS, ProviderProtocol

BOTH = {ProviderProtocol.OPENAI, ProviderProtocol.ANTHROPIC}
CLAUDE = "claude-sonnet-4-20250514"
DEFAULTS = (CLAUDE, "gpt-4o", "gpt-4o-mini")


@pytest.mark.parametrize(
    ("wanted", "fallbacks", "providers", "expected"),
    [
        ("gpt-4o", DEFAULTS, BOTH, ["gpt-4o", CLAUDE, "gpt-4o-mini"]),
        (CLAUDE, DEFAULTS, BOTH, [CLAUDE, "gpt-4o", "gpt-4o-mini"]),
        ("claude-3-opus", DEFAULTS, BOTH, ["claude-3-opus", *DEFAULTS]),
        ("gpt-4o", DEFAULTS, {ProviderProtocol.OPENAI}, ["gpt-4o", "gpt-4o-mini"]),
        ("gpt-4o", DEFAULTS, {ProviderProtocol.ANTHROPIC}, [CLAUDE]),
        ("gpt-4o", (), BOTH, ["gpt-4o"]),
        ("no-such-model", ("gpt-4o", "no-such-either"), BOTH, ["gpt-4o"]),
        ("gpt-4o", DEFAULTS, set(), []),
    ],
)
def test_wanted_model_first_then_each_fallback_once(
    wanted: str, fallbacks: tuple[str, ...], providers: set[ProviderProtocol], expected: list[str]
) -> None:
    """Models without a key or a place in the catalogue are left out."""
    routing = route(
        catalogue=SHIPPED,
        wanted=wanted,
        fallbacks=fallbacks,
        providers=providers,
        input_tokens=100,
        max_output_tokens=100,
    )
    assert [model.name for model in routing.models] == expected


def test_a_prompt_too_long_for_one_model_goes_to_a_larger_one() -> None:
    """127,900 tokens and an answer of 200 do not fit 128,000, but they fit 200,000."""
    routing = route(
        catalogue=SHIPPED,
        wanted="gpt-4o",
        fallbacks=DEFAULTS,
        providers=BOTH,
        input_tokens=127_900,
        max_output_tokens=200,
    )
    assert [model.name for model in routing.models] == [CLAUDE]
    assert [m.name for m in routing.too_small] == ["gpt-4o", "gpt-4o-mini"]


def test_a_model_is_never_asked_for_more_than_it_can_write() -> None:
    """claude-3-opus writes 4,096 tokens at most."""
    assert longest_output(MODELS["claude-3-opus"], 9_000) == 4_096
    assert longest_output(MODELS["claude-3-opus"], 100) == 100
    routing = route(
        catalogue=SHIPPED,
        wanted="claude-3-opus",
        fallbacks=(),
        providers=BOTH,
        input_tokens=200_000 - 4_096,
        max_output_tokens=9_000,
    )
    assert [model.name for model in routing.models] == ["claude-3-opus"]

"""Text that a provider sends in halves."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.providers.answers.chat_api import AnswerText
from agents.providers.answers.encodable import encodable, encodable_escapes

anything = st.text(st.characters(exclude_categories=()), max_size=20)


@settings(max_examples=50)
@given(anything, st.lists(st.integers(0, 20), max_size=6))
def test_a_text_is_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    """Every piece can be encoded, and together they say what the whole says."""
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = AnswerText()
    told = [pieces.feed(text[a:b]) for a, b in itertools.pairwise(bounds)] + [pieces.end()]
    assert "".join(told) == encodable(text)
    for each in told:
        each.encode()


def test_halves_are_joined_and_a_lone_one_is_replaced() -> None:
    """In either order; what was encodable is what it was."""
    assert encodable("Hi \ud83d\ude00!") == "Hi 😀!"
    assert encodable("\ude00\ud83d") == "\ufffd\ufffd"
    assert encodable("Hi 😀 \x00 \ufffd") == "Hi 😀 \x00 \ufffd"
    pieces = AnswerText()
    assert [pieces.feed("Hi \ud83d"), pieces.feed("\ude00!"), pieces.feed("\ud83d"), pieces.end()] == [
        "Hi ",
        "😀!",
        "",
        "\ufffd",
    ]


def test_a_half_that_is_escaped_within_json_is_replaced() -> None:
    """JSON in a text can say what UTF-8 cannot, too; what only looks like an escape stays."""
    said = {
        r'{"a":"\ud83d x"}': r'{"a":"\ufffd x"}',
        r'{"a":"\uD83D\uDE00"}': r'{"a":"\uD83D\uDE00"}',
        r"\ud83d\ud83d\ude00 \ude00": r"\ufffd\ud83d\ude00 \ufffd",
        r"\\ud83d": r"\\ud83d",
        r"\\\ud83d": r"\\\ufffd",
        r"cut \ud8": r"cut \ud8",
    }
    assert {text: encodable_escapes(text) for text in said} == said

"""How texts are cut into chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.generate import pieces


@given(st.text(), st.none() | st.integers(1, 9) | st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_pieces_make_up_the_text(text: str, sizes: int | list[int] | None) -> None:
    """Whatever the text and the sizes, nothing is lost, added or empty, also within one character."""
    split = pieces(text, sizes)
    assert "".join(split) == text
    assert all(split)


@pytest.mark.parametrize("text", ["🎉🏳️‍🌈 naïve 日本語", "क्षत्रिय", "\U0001f9d1‍\U0001f680"])
def test_characters_of_several_tokens_stay_whole(text: str) -> None:
    """A character whose bytes are several tokens is one piece."""
    assert "".join(pieces(text, None)) == text

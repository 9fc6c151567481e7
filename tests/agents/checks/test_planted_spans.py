"""Texts in which something forbidden was planted, cut at random: none of it comes out, and the rest does.

What must come out is known from how the text was made, without any of the guard's own rules.
"""

import re
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.checks.answer_guard import StreamingGuard
from tests.agents.checks.test_answer_guard import BANNED_SPANS, LEAKS, PII_SPANS, SYSTEM_PROMPT, chunked
from tests.fakes.answers import check_answer

USER = "Which word of the day is it?"
#: Stands for a redacted value, whatever its label says.
HIDDEN = "\N{FULL BLOCK}"
_LABEL = re.compile(r"\[REDACTED_[A-Z_]+\]")


class Piece(NamedTuple):
    """A piece of a text: what may come out before anything forbidden, and what is planted after it."""

    lead: str
    planted: str = ""
    blocks: bool = False


def _planted(span: str, *, blocks: bool) -> Piece:
    """Return the piece for a span; its first words may be harmless ones that make a number a phone number."""
    lead = next((lead for lead in ("call me: ", "- ") if span.startswith(lead)), "")
    return Piece(lead, span.removeprefix(lead), blocks)


HARMLESS = (
    "Kettles boil sooner with a lid on.", "drop the table", "rm -rf ./build", "exec it", "sudo ls", "in 2021",
    "35 percent", "see section 3.2", "2024-05-01", "a @ b", "Ünïcode, ſ and \u200b too", "然后呢", "📞 later",
    "truncate", "chmod 644",
)  # fmt: skip
PIECES = (
    *(Piece(text) for text in HARMLESS),
    *(_planted(span, blocks=False) for span in PII_SPANS),
    *(_planted(span, blocks=True) for span in (*BANNED_SPANS, *LEAKS)),
)
pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).filter(
    lambda made: any(piece.planted for piece in made)
)
gaps = st.sampled_from((" so ", ", then\n", "\n\n", " and also "))


def expected(made: list[Piece], gap: str) -> str:
    """Return what may come out: everything before the first piece that blocks, with data hidden."""
    text = ""
    for piece in made:
        text += gap + piece.lead
        if piece.blocks:
            return text
        text += HIDDEN if piece.planted else ""
    return text + gap


@settings(max_examples=220)
@given(made=pieces, gap=gaps, cuts=st.lists(st.integers(0, 10_000), max_size=60))
def test_nothing_that_was_planted_is_published(made: list[Piece], gap: str, cuts: list[int]) -> None:
    """At no moment, whatever the chunking; and the verdict is that on the whole text."""
    text = "".join(gap + piece.lead + piece.planted for piece in made) + gap
    may_come_out = expected(made, gap)
    guard = StreamingGuard(
        instructions=SYSTEM_PROMPT,
        user_text=USER,
    )
    published = ""
    for chunk in chunked(text, cuts):
        published += guard.feed(chunk)
        assert may_come_out.startswith(_LABEL.sub(HIDDEN, published))
    rest, verdict = guard.finish()
    assert _LABEL.sub(HIDDEN, published + rest).rstrip(" -") == may_come_out.rstrip(" -")
    assert verdict == check_answer(text, instructions=SYSTEM_PROMPT, user_text=USER)
    assert verdict.passed is not any(piece.blocks for piece in made)

"""One injection rule, and the notation its pattern is written in."""

from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "instruction_override",
    "new_instructions",
    "prompt_extraction",
    "role_play",
    "fake_delimiter",
    "refusal_suppression",
    "encoded_payload",
    "scan",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: Stable; begins with the family.
        family: The kind of attack.
        pattern: A case-insensitive regular expression in which one blank stands for whatever separates
            two words (blanks, a line break, a little punctuation). Every repetition is bounded.
        hints: Lower-case substrings, separated by `|`, of which a text must hold at least one before the
            pattern is tried: they keep ordinary prompts at microseconds.
        score: How sure a match makes, 0 to 1.
    """

    id: str
    family: Family
    pattern: str
    hints: str
    score: float = 0.9


def any_of(words: str) -> str:
    """Return a pattern for any one of `words`, which are separated by blanks."""
    return f"(?:{'|'.join(words.split())})"

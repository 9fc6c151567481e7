"""One injection rule, and the notation of its pattern."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InjectionRule:
    """One rule.

    Attributes:
        id: stable; begins with the kind of attack, e.g. `role_play.jailbreak`.
        hints: lower-case substrings, separated by `|`. The pattern is tried only on a text that holds one of
            them, so that an ordinary prompt takes microseconds.
        pattern: a case-insensitive regular expression in which one blank stands for whatever separates
            two words (blanks, a line break, a little punctuation). Every repetition is bounded.
    """

    id: str
    hints: str
    pattern: str


def any_of(words: str) -> str:
    """Return a pattern for any one of `words`, which are separated by blanks."""
    return f"(?:{'|'.join(words.split())})"

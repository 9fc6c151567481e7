"""One injection rule, the notation of its pattern, and the rules of the course lesson.

The rules say what an attempt to take a model over looks like in words. They favour precision: a word such as
"ignore" or "system" alone blocks nobody (`jailbreak` does, because the lesson's list says so).
"""

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


LESSON_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "instruction_override.previous",
        "ignore",
        r"ignore\s{1,99}(?:all\s{1,99})?previous\s{1,99}instructions",
    ),
    InjectionRule("instruction_override.above", "ignore", r"ignore\s{1,99}(?:all\s{1,99})?above"),
    InjectionRule("role_play.dan", "dan", r"you\s{1,99}are\s{1,99}now\s{1,99}DAN"),
    InjectionRule("fake_delimiter.override", "override", r"system\s{0,99}:\s{0,99}override"),
    InjectionRule("fake_delimiter.system_tag", "<", r"<\s{0,99}system\s{0,99}>"),
    InjectionRule("role_play.jailbreak", "jailbreak", "jailbreak"),
    InjectionRule(
        "role_play.pretend_unrestricted",
        "pretend",
        r"\bpretend\s{1,99}you\s{1,99}have\s{1,99}no\s{1,99}(?:restrictions|rules|guidelines)\b",
    ),
)
"""The seven patterns of the course lesson that Headrace began from, with their blanks bounded."""

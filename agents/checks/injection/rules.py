"""The injection rules: what an attempt to take a model over looks like in words.

They favour precision: a word such as "ignore" or "system" alone blocks nobody (`jailbreak` does, because
the lesson's list says so).
"""

from agents.checks.injection.extraction_rules import EXTRACTION_RULES
from agents.checks.injection.form_rules import FORM_RULES
from agents.checks.injection.override_rules import OVERRIDE_RULES
from agents.checks.injection.role_play_rules import ROLE_PLAY_RULES
from agents.checks.injection.rule import InjectionRule

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

RULES = (*LESSON_RULES, *OVERRIDE_RULES, *EXTRACTION_RULES, *ROLE_PLAY_RULES, *FORM_RULES)
"""All rules, in the order in which a match is reported."""

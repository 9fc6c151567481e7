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
        id="instruction_override.previous",
        pattern=r"ignore\s{1,99}(?:all\s{1,99})?previous\s{1,99}instructions",
        hints="ignore",
    ),
    InjectionRule(
        id="instruction_override.above",
        pattern=r"ignore\s{1,99}(?:all\s{1,99})?above",
        hints="ignore",
    ),
    InjectionRule(
        id="role_play.dan",
        pattern=r"you\s{1,99}are\s{1,99}now\s{1,99}DAN",
        hints="dan",
    ),
    InjectionRule(
        id="fake_delimiter.override",
        pattern=r"system\s{0,99}:\s{0,99}override",
        hints="override",
    ),
    InjectionRule(
        id="fake_delimiter.system_tag",
        pattern=r"<\s{0,99}system\s{0,99}>",
        hints="<",
    ),
    InjectionRule(id="role_play.jailbreak", pattern="jailbreak", hints="jailbreak"),
    InjectionRule(
        id="role_play.pretend_unrestricted",
        pattern=r"\bpretend\s{1,99}you\s{1,99}have\s{1,99}no\s{1,99}(?:restrictions|rules|guidelines)\b",
        hints="pretend",
    ),
)
"""The seven patterns of the course lesson that Headrace began from, with their blanks bounded."""

RULES: tuple[InjectionRule, ...] = (
    *LESSON_RULES,
    *OVERRIDE_RULES,
    *EXTRACTION_RULES,
    *ROLE_PLAY_RULES,
    *FORM_RULES,
)
"""All rules, in the order in which a match is reported."""

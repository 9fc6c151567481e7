"""Finds prompt injections: every reading of a text against every rule, within a limit of processor time.

find_injection("Ignore all previous instructions")  # "instruction_override.previous"
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import regex

from agents.checks.injection.instruction_rules import EXTRACTION_RULES, OVERRIDE_RULES
from agents.checks.injection.normalise import readings
from agents.checks.injection.rules import FORM_RULES, LESSON_RULES, ROLE_PLAY_RULES, InjectionRule
from agents.checks.timed_search import timed_search

RULES = (*LESSON_RULES, *OVERRIDE_RULES, *EXTRACTION_RULES, *ROLE_PLAY_RULES, *FORM_RULES)
"""All rules, in the order in which a match is reported."""

#: Of the scanning thread's own processor time, for all rules over all readings of one text: 32,000
#: characters need about a fifth of it. What other threads and processes do meanwhile does not count.
DEFAULT_TIMEOUT_S = 0.5

SCAN_TIMEOUT = "scan_timeout"


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    id: str
    hints: tuple[str, ...]
    spaced: "regex.Pattern[str]"
    dense: "regex.Pattern[str]"


def find_injection(
    text: str,
    rules: tuple[InjectionRule, ...] = RULES,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    clock: Callable[[], float] = time.thread_time,
) -> str | None:
    """Return the id of the first rule that matches `text`, or None; `scan_timeout` where it takes longer.

    The first call compiles the rules.
    """
    compiled = _compiled(rules)
    deadline = clock() + timeout_s
    try:
        for reading, is_joined in readings(text).items():
            lowered = reading.lower()
            for rule in compiled:
                if not any(hint in lowered for hint in rule.hints):
                    continue
                pattern = rule.dense if is_joined else rule.spaced
                if timed_search(pattern, reading, timeout_s=deadline - clock(), clock=clock) is not None:
                    return rule.id
    except TimeoutError:
        return SCAN_TIMEOUT
    return None


@cache
def _compiled(rules: tuple[InjectionRule, ...]) -> tuple[_CompiledRule, ...]:
    return tuple(map(_compile, rules))


def _compile(rule: InjectionRule) -> _CompiledRule:
    flags = regex.IGNORECASE | regex.VERSION0
    dense = rule.pattern.replace(r"\b", "").replace(r"\s{1,99}", r"\s{0,99}").replace(" ", r"\W{0,6}")
    return _CompiledRule(
        rule.id,
        tuple(rule.hints.split("|")),
        regex.compile(rule.pattern.replace(" ", r"\W{1,6}"), flags),
        regex.compile(dense, flags),
    )

"""Prompt injection by rule: every reading of a prompt against every rule, inside one time budget."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import regex

from agents.checks.injection.normalise import Variant, VariantKind, readings
from agents.checks.injection.rule import Family, Rule
from agents.checks.injection.rules import RULES

DEFAULT_TIMEOUT_S = 0.5
"""For all rules over all readings of one text; 32,000 characters need about a tenth of it."""

SCAN_TIMEOUT = "scan_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionVerdict:
    """What the rules say of a text.

    Attributes:
        passed: Whether no rule matched.
        rule: The id of the rule that matched, or `scan_timeout`.
        family: The family of that rule.
        score: How sure the match makes, 0 to 1; 0 where nothing matched.
        found_in: The reading in which it matched (the original, or one with a disguise removed).
        matched: The text that matched, in that reading.
        span: Where it stands in the original text, if it matched there.
    """

    passed: bool
    rule: str | None = None
    family: Family | None = None
    score: float = 0.0
    found_in: VariantKind | None = None
    matched: str | None = None
    span: tuple[int, int] | None = None


_PASSED = InjectionVerdict(passed=True)
_TIMED_OUT = InjectionVerdict(passed=False, rule=SCAN_TIMEOUT, family="scan", score=1.0)


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: Rule
    hints: tuple[str, ...]
    spaced: "regex.Pattern[str]"
    dense: "regex.Pattern[str]"


class InjectionRules:
    """A compiled set of rules.

    Args:
        rules: What to look for, in the order in which a match is reported.
        timeout_s: Seconds for one `check` altogether. When they are over, the text is blocked.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = RULES,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = tuple(_compile(rule) for rule in rules)
        self._timeout_s = timeout_s
        self._clock = clock

    def check(self, text: str) -> InjectionVerdict:
        """Return the verdict on `text`; a scan that cannot end in time blocks."""
        deadline = self._clock() + self._timeout_s
        try:
            for reading in readings(text):
                verdict = self._scan(reading, deadline)
                if verdict is not None:
                    return verdict
        except TimeoutError:
            return _TIMED_OUT
        return _PASSED

    def _scan(self, reading: Variant, deadline: float) -> InjectionVerdict | None:
        lowered = reading.text.lower()
        for compiled in self._rules:
            if not any(hint in lowered for hint in compiled.hints):
                continue
            pattern = compiled.dense if reading.kind == "joined" else compiled.spaced
            match = pattern.search(reading.text, timeout=self._left(deadline))
            if match is not None:
                return _blocked(compiled.rule, reading, match)
        return None

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


def check(text: str) -> InjectionVerdict:
    """Return the verdict of the default rules on `text`."""
    return _default_rules().check(text)


@cache
def _default_rules() -> InjectionRules:
    return InjectionRules()


def _compile(rule: Rule) -> _Compiled:
    flags = regex.IGNORECASE | regex.VERSION0
    dense = rule.pattern.replace(r"\b", "").replace(r"\s{1,99}", r"\s{0,99}").replace(" ", r"\W{0,6}")
    return _Compiled(
        rule,
        tuple(rule.hints.split("|")),
        regex.compile(rule.pattern.replace(" ", r"\W{1,6}"), flags),
        regex.compile(dense, flags),
    )


def _blocked(rule: Rule, reading: Variant, match: "regex.Match[str]") -> InjectionVerdict:
    return InjectionVerdict(
        passed=False,
        rule=rule.id,
        family=rule.family,
        score=rule.score,
        found_in=reading.kind,
        matched=match[0],
        span=match.span() if reading.kind == "original" else None,
    )

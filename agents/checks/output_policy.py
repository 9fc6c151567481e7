"""The rules for answers: banned phrases, personal data, leaks of the prompt; and the verdict on an answer.

The LLM stage applies them to streams, the output stage to whole answers; a new rule needs no wiring.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Literal, Self

import regex

from agents.checks.pii import PiiSpan
from streams.settings import PiiType, Settings

Flag = Literal["refusal", "truncated", "empty"]

MAX_GAP = 256
"""Blanks between two words of a banned phrase: it bounds what a stream holds back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BannedRule:
    r"""A phrase that no answer may hold.

    A stream is released up to the first place where a match may begin. Therefore `pattern` must

    - be bounded in length, and not look ahead;
    - begin with fixed letters: `db1\.corp` waits for a word that begins with "db1", `\w{1,63}\.corp` holds
      back every word of every stream;
    - not refer to groups by number, because all rules are searched for at once.
    """

    id: str
    pattern: str
    compiled: "regex.Pattern[str]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", regex.compile(self.pattern, regex.IGNORECASE))


_S = rf"\s{{1,{MAX_GAP}}}"
_S0 = rf"\s{{0,{MAX_GAP}}}"

BANNED: tuple[BannedRule, ...] = (
    BannedRule(id="banned.sql_drop", pattern=rf"(?:DROP|DELETE|TRUNCATE){_S}TABLE"),
    BannedRule(id="banned.rm_rf_root", pattern=rf"rm{_S}-rf{_S}/"),
    BannedRule(id="banned.chmod_777", pattern=rf"(?:sudo{_S})?(?:chmod|chown){_S}777"),
    BannedRule(id="banned.exec_call", pattern=rf"exec{_S0}\("),
    BannedRule(id="banned.import_call", pattern=rf"__import__{_S0}\("),
)
"""The phrases that block an answer, in every installation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPolicy:
    """What to do about what an answer may hold.

    `redact_pii` are types replaced by their label, unless the user's own message held that value; `block_pii`
    block the answer instead, with the same exception. `leak_chars` letters and digits of the system prompt in
    a row (separators not counted) make a leak; a shorter prompt leaks when four fifths of it are repeated.
    """

    banned: tuple[BannedRule, ...] = BANNED
    redact_pii: frozenset[PiiType] = frozenset({"email", "credit_card", "ssn", "iban", "phone"})
    block_pii: frozenset[PiiType] = frozenset()
    leak_chars: int = 48

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the policy of an installation."""
        return cls(redact_pii=frozenset(settings.output_redact), block_pii=frozenset(settings.output_block))

    @property
    def sought(self) -> frozenset[PiiType]:
        """The types to look for: those that count, and IP addresses, which look like telephone numbers."""
        return self.redact_pii | self.block_pii | {"ip"}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ between policies that may judge an answer differently."""
        parts = (
            *(f"{rule.id} {rule.pattern}" for rule in self.banned),
            *(f"redact {kind}" for kind in sorted(self.redact_pii)),
            *(f"block {kind}" for kind in sorted(self.block_pii)),
            f"leak {self.leak_chars}",
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


DEFAULT_POLICY = OutputPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerVerdict:
    """The verdict on an answer. `rule` blocked it: `banned.…`, `prompt_leak`, `pii.…`.

    `text` may be shown: the whole answer with redactions, or where it is blocked all that stands before the
    blocked span. `redactions` were replaced; their offsets are into the answer as the model gave it.
    """

    passed: bool
    rule: str | None
    text: str
    redactions: tuple[PiiSpan, ...] = ()
    flags: tuple[Flag, ...] = ()


_OPENING = (
    r"(?:(?:i['’]?m|i am)(?: really| very| so| truly)? sorry|sorry"
    r"|(?:my )?apologies|i apologi[sz]e|unfortunately)"
)
_CANNOT = (
    r"(?:i (?:can['’]?t|cannot|can not|won['’]?t|will not|must decline|am (?:unable|not able)"
    r"|am not (?:comfortable|allowed)|(?:do not|don['’]?t) feel comfortable)"
    r"|i['’]m (?:unable|not able|not comfortable)"
    r"|as an ai(?: language model| assistant)?,? i (?:can['’]?t|cannot|do not|don['’]?t|am not))"
)
_DEED = (
    r"(?:help|assist|provide|comply|fulfil|answer|do that|support|share|create|generate|write|give|discuss"
    r"|engage|continue|offer|tell|with (?:that|this))"
)
_REFUSAL = regex.compile(
    rf"^\W{{0,9}}{_OPENING}?[^.!?]{{0,60}}?\b{_CANNOT}\b[^.!?]{{0,40}}?(?:\b{_DEED}|$)", regex.IGNORECASE
)
REFUSAL_CHARS = 400
"""How much of an answer's beginning is read for a refusal."""


def flags_of(beginning: str, *, empty: bool, finish_reason: str | None) -> tuple[Flag, ...]:
    """Return the remarks on an answer that begins with `beginning` and ended for `finish_reason`."""
    flags: list[Flag] = []
    if _REFUSAL.search(beginning):
        flags.append("refusal")
    if finish_reason in {"length", "max_tokens"}:
        flags.append("truncated")
    if empty:
        flags.append("empty")
    return tuple(flags)

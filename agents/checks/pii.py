"""Structured personal data: found by format, confirmed by its check digits, replaced by a label.

`redact` is pure and idempotent; the streaming guard does the same over a stream by `scan`. Detectors are in
ASCII, so texts are read in `plain` spelling: a number is the same number in Arabic, Devanagari or full-width
digits, with typographic dashes, with the blanks of French typesetting, or with invisible characters in it.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import regex

from agents.checks.pii_patterns import CONTEXT_CHARS, DETECTORS
from streams.settings import PII_TYPES, PiiType

_MAX_PASSES = 6
_MASKS = {
    kind: chr(0xE000 + index)
    for index, kind in enumerate(("email", "credit_card", "ssn", "iban", "ip", "phone"))
}
_LABEL = re.compile(r"\[REDACTED_(EMAIL|CREDIT_CARD|SSN|IBAN|IP|PHONE)\]")
_LAST_MASK = re.compile("[\ue000-\ue005](?!.*[\ue000-\ue005])", re.DOTALL)
#: Whatever a detector finds has one of them: an @, two colons of IPv6, two dots of IPv4, or six digits.
_SIGNS = re.compile(r"@|:[0-9a-f]{0,4}:|\d\.\d{1,3}\.\d|(?:\d\D*){6}", re.IGNORECASE)
_LIST_GAP = re.compile(r"[\s,;/|&]{0,4}(?:or |and )?", re.IGNORECASE)

#: What has one ASCII character as its plain spelling: digits, blanks, dashes (but the long ones, which set
#: clauses apart), full-width characters, and letters that `re.IGNORECASE` takes for ASCII ones.
_UNUSUAL = regex.compile(
    r"[[\p{Nd}\p{Zs}\p{Pd}\u2212\uff01-\uff5e\u0130\u0131\u017f\u212a]--[\x00-\x7f\u2014\u2015]]",
    regex.VERSION1,
)
_LETTERS = {"\u0130": "I", "\u0131": "i", "\u017f": "s", "\u212a": "K"}
_FULL_WIDTH = range(0xFF01, 0xFF5F)
_TO_ASCII = 0xFF00 - 0x20
_INVISIBLE = regex.compile(r"[\p{Cf}\u034f\ufe00-\ufe0f]")


@dataclass(frozen=True, slots=True)
class PiiSpan:
    """Where personal data stands in a text: character offsets, end exclusive."""

    type: PiiType
    start: int
    end: int

    def moved(self, by: int) -> Self:
        """Return the span in a text that begins `by` characters earlier."""
        return type(self)(self.type, self.start + by, self.end + by)


@dataclass(frozen=True, slots=True)
class Redaction:
    """A text with labels such as `[REDACTED_SSN]`; the types found, each once, in order of appearance."""

    text: str
    types: tuple[str, ...] = ()


Redact = Callable[[str], Redaction]
"""Replaces the personal data in a text, as `redact` does."""


def label(kind: PiiType) -> str:
    """Return what stands for redacted data of this type."""
    return f"[REDACTED_{kind.upper()}]"


def canonical(value: str) -> str:
    """Return the form in which two spellings of one value are equal (separators and case dropped)."""
    return re.sub(r"[^\w@]", "", plain(value)).lower()


def find(text: str) -> tuple[PiiSpan, ...]:
    """Return the personal data in `text`, left to right, without overlaps."""
    shown, places = visible(text)
    spelled = plain(shown)
    if not _SIGNS.search(spelled):
        return ()
    masked, found = mask_labels(spelled), list[PiiSpan]()
    for _ in range(_MAX_PASSES):  # what a rejected candidate hid shows up once its neighbour is masked
        spans = scan(masked, masked)
        if not spans:
            break
        found += spans
        masked = mask(masked, spans)
    stood = (PiiSpan(span.type, places[span.start], places[span.end - 1] + 1) for span in found)
    return tuple(sorted(stood, key=lambda span: span.start))


def values_in(text: str) -> frozenset[str]:
    """Return the personal data in `text`, in `canonical` form."""
    return frozenset(canonical(text[span.start : span.end]) for span in find(text))


def redact(text: str) -> Redaction:
    """Replace structured personal data by labels; redacting the result again changes nothing."""
    return without(text, find(text))


def without(text: str, spans: Sequence[PiiSpan]) -> Redaction:
    """Return `text` with `spans` (ordered, not overlapping) replaced by labels, and their types."""
    return Redaction(replace(text, spans), tuple(dict.fromkeys(span.type for span in spans)))


def replace(text: str, spans: Iterable[PiiSpan]) -> str:
    """Return `text` with each of `spans` (ordered, not overlapping) replaced by its label."""
    return _overwritten(text, spans, lambda span: label(span.type))


def mask(text: str, spans: Iterable[PiiSpan]) -> str:
    """Return `text` with each of `spans` overwritten, character by character, by its type's mask."""
    return _overwritten(text, spans, lambda span: _MASKS[span.type] * (span.end - span.start))


def _overwritten(text: str, spans: Iterable[PiiSpan], by: Callable[[PiiSpan], str]) -> str:
    parts, position = list[str](), 0
    for span in spans:
        parts += (text[position : span.start], by(span))
        position = span.end
    return "".join((*parts, text[position:]))


def mask_labels(text: str) -> str:
    """Return `text` with labels masked, so that the scan sees them as it sees what it has just found."""
    if "[REDACTED_" not in text:
        return text
    return _LABEL.sub(lambda m: _MASKS[m[1].lower()] * len(m[0]), text)


def scan(text: str, masked: str, *, start: int = 0, types: frozenset[PiiType] = PII_TYPES) -> list[PiiSpan]:
    """Return the personal data from `start`: leftmost first, then the longest, then the most specific.

    Patterns are matched against `text`, which is in `plain` spelling; validators judge the same place in
    `masked`, where what was found before is masked.
    """
    candidates = [
        (match.start(), -match.end(), index)
        for index, detector in enumerate(DETECTORS)
        if detector.type in types and detector.gate in text
        for match in detector.pattern.finditer(text, start, overlapped=True)
    ]
    spans, position, kind = list[PiiSpan](), start, None
    for begin, negative_end, index in sorted(candidates):
        if begin < position:
            continue
        detector = DETECTORS[index]
        left = masked[max(0, begin - CONTEXT_CHARS) : begin]
        if kind is not None and begin - position < CONTEXT_CHARS:
            left = _MASKS[kind] + masked[position:begin]
        accepted = detector.accept(masked[begin:-negative_end], _context(left))
        if accepted:
            position, kind = begin + accepted, detector.type
            spans.append(PiiSpan(kind, begin, position))
    return spans


def _context(left: str) -> str:
    """Cut the context at the last redacted value; what is listed after a telephone number is one too."""
    last = _LAST_MASK.search(left)
    if last is None:
        return left
    gap = left[last.end() :]
    listed_phone = last[0] == _MASKS["phone"] and _LIST_GAP.fullmatch(gap)
    return f"phone {gap}" if listed_phone else gap


def plain(text: str) -> str:
    """Return a text of the same length, character by character, in plain spelling."""
    return text if text.isascii() else _UNUSUAL.sub(_plain_character, text)


def visible(text: str) -> tuple[str, Sequence[int]]:
    """Return a text without its invisible characters, and where each that is left stood."""
    if text.isascii() or not _INVISIBLE.search(text):
        return text, range(len(text))
    places = [place for place, character in enumerate(text) if not _INVISIBLE.match(character)]
    return "".join(text[place] for place in places), places


def _plain_character(match: "regex.Match[str]") -> str:
    character = match[0]
    if character in _LETTERS:
        return _LETTERS[character]
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if ord(character) in _FULL_WIDTH:
        return chr(ord(character) - _TO_ASCII)
    return " " if character.isspace() else "-"

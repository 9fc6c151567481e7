"""Telephone numbers: which runs of digit groups are one.

Digits alone say little: `2024-05-01` and `434 14 557` have the same shape. So a run counts without more
only where its grouping is telling (a `+`, North America's 3-3-4, a trunk 0 and several groups); any other
needs a word such as "call" or "mobile" shortly before it.
"""

import re
from itertools import accumulate

_EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?) ?\d{1,5})?"
INTERNATIONAL = (
    r"\+\d{1,4}(?:[ .\-/\u00a0]?\(\d{1,5}\)(?:[ .\-/\u00a0]?\d{1,12})?)?(?:[ .\-/\u00a0]?\d{2,12}){0,6}"
    + _EXTENSION
)
"""A plus, the country code, perhaps an area code in brackets, groups of two digits or more."""

BEFORE_NATIONAL = r"(?<![\w$€£¥#+])(?<!\d[.,:/-])"
NATIONAL = (
    r"(?:\(\d{2,5}\)\d{0,8}|\d{1,12})(?:[ .\-/\u00a0]{0,2}\(\d{2,5}\))?(?:[ .\-/\u00a0]{1,2}\d{2,8}){0,6}"
    + _EXTENSION
    + r"(?:[ \-:,(]{1,3}(?:office|fax|mobile|cell|home|work|direct|desk))?"
)

_CONTEXT = re.compile(
    r"\b(?:(?:tele)?phones?|tel|mobile|cell(?:phone|ular)?|call(?:ing|ed)?|dial|ring|fax|sms|text(?: me)?|"
    r"whats ?app|hotline|landline|reach(?:ed)?|contact|extension|answering|messages? to|"
    r"telefon|handy|anruf|m[oó]vil|tel[eé]fono|t[eé]l[eé]phone|portable)\b",
    re.IGNORECASE,
)
_OTHER_NUMBER = re.compile(
    r"\b(?:order|invoice|account|acct|ticket|tracking|isbn|issn|serial|sku|id|ids|ref(?:erence)?|timestamp|epoch|"
    r"transaction|case|policy|part|model|zip|postal|code|route|routing)\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:19|20)\d\d\D{1,2}(?:0?[1-9]|1[0-2])\D{1,2}(?:[12]\d|3[01]|0?[1-9])(?:\D.*)?"
    r"|(?:[12]\d|3[01]|0?[1-9])\D{1,2}(?:[12]\d|3[01]|0?[1-9])\D{1,2}(?:19|20)\d\d(?:\D.*)?"
    r"|(?:19|20)\d\d\D{1,2}(?:19|20)\d\d"
)
_SENTENCE_END = re.compile(r"(?<!\bno)(?<!\bnr)(?<!\btel)[.;!?]\s", re.IGNORECASE)
_SSN_SHAPE = re.compile(r"\d{3}-\d\d-\d{4}")
_GROUP = re.compile(r"\d+")
_TAIL = re.compile(
    r"(?P<extension>[ ,]{0,2}(?:x|ext\.?) ?\d{1,5})?(?P<kind>[ \-:,(]{1,3}[a-z]{3,6})?$", re.IGNORECASE
)


def accept_international(candidate: str, left: str) -> int:  # noqa: ARG001  # one shape for every validator
    """Return how much of a `+…` run is the number: E.164 allows 15 digits, and +1 has exactly 11."""
    core, extended, _ = _split(candidate)
    ends, counts = _groups(core)
    north_america = candidate.startswith("+1")
    for end, count in zip(reversed(ends), reversed(counts), strict=True):
        if (north_america and count == 11) or (not north_america and 8 <= count <= 15):
            return extended if end == len(core) else end
    return 0


def accept_national(candidate: str, left: str) -> int:
    """Return how much of a run of digit groups is a telephone number; 0 where nothing says that it is one."""
    core, extended, says_kind = _split(candidate)
    if _SSN_SHAPE.fullmatch(core):
        return 0  # an impossible social security number is no telephone number either
    end = _self_evident(core, left) or (_in_context(core) if says_kind or says_phone(left) else 0)
    return extended if end == len(core) else end


def _split(candidate: str) -> tuple[str, int, bool]:
    """Return the number alone, its length with an extension, and whether a word such as "fax" follows."""
    tail = _TAIL.search(candidate)
    if tail is None:
        return candidate, len(candidate), False
    core = candidate[: tail.start()]
    return core, len(core) + len(tail["extension"] or ""), bool(tail["kind"])


def _groups(run: str) -> tuple[list[int], list[int]]:
    """Return where each digit group ends (with its closing bracket) and the digits counted up to there."""
    matches = list(_GROUP.finditer(run))
    ends = [m.end() + (run[m.end() : m.end() + 1] == ")") for m in matches]
    return ends, list(accumulate(m.end() - m.start() for m in matches))


def _self_evident(run: str, left: str) -> int:
    ends, counts = _groups(run)
    lengths = tuple(len(group) for group in _GROUP.findall(run))
    if lengths[:3] == (3, 3, 4):
        return ends[2]
    if lengths[:4] == (1, 3, 3, 4) and run[0] == "1":
        return ends[3]
    if lengths[:1] == (10,) and re.match(r"[2-9]\d\d[2-9]", run) and not _OTHER_NUMBER.search(left[-24:]):
        return ends[0]
    if run.startswith("00") and 10 <= counts[-1] <= 15 and len(ends) > 2:
        return ends[-1]
    if run.lstrip("(").startswith("0") and not _DATE.fullmatch(run):
        for end, count, index in reversed(list(zip(ends, counts, range(1, 9), strict=False))):
            if 9 <= count <= 12 and index >= 3 and max(lengths[:index]) <= 5:
                return end
    return 0


def _in_context(run: str) -> int:
    ends, counts = _groups(run)
    for end, count in zip(reversed(ends), reversed(counts), strict=True):
        if 7 <= count <= 12 and not _DATE.fullmatch(run[:end]):
            return end
    return 0


def says_phone(left: str) -> bool:
    """Return whether the last telling word on the left, in the same sentence, speaks of a telephone."""
    left = _SENTENCE_END.split(left)[-1]
    words = list(_CONTEXT.finditer(left))
    if not words:
        return False
    others = list(_OTHER_NUMBER.finditer(left))
    return not others or others[-1].start() < words[-1].start()

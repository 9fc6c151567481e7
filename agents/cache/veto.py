"""Reasons why two similar queries do not have the same answer, which embeddings do not see.

    veto("flights to Paris in 2024", "flights to Paris in 2023")  # "numbers"

Sentence embeddings hardly tell "with" from "without", or 2023 from 2024: at a cosine of 0.92 a fifth of such
pairs would be answered wrongly (docs/caching.md). These checks are cheap, and prefer a miss.
"""

import re
from collections.abc import Callable

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_WORD = re.compile(r"[\w'’]+")
_SYMBOLS = re.compile(r"!=|[<>=+*%^&|~#$€£¥]+")
_INDENT = re.compile(r"\n([ \t]*)\S")
_NUMBER_WORDS = frozenset(
    """
    zero one two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred
    thousand million billion first second third fourth fifth last next
    monday tuesday wednesday thursday friday saturday sunday january february april june july august
    september october november december today tomorrow yesterday
    """.split()
)
_NEGATIONS = frozenset(
    """
    no not never none nobody nothing neither nor without cannot cant dont doesnt didnt isnt arent wasnt
    wont shouldnt couldnt wouldnt havent hasnt mustnt except unless avoid disable remove stop deny exclude
    """.split()
)
_OPPOSITE_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non")
#: Words that two queries may hold in any order and still ask the same.
_FUNCTION_WORDS = frozenset(
    """
    a an the this that these those my your his her its our their i you he she it we they me him us them
    is are was were be been am do does did done have has had can could will would shall should may might
    must of in on at by for from to with about into as and or but if then than so what what's which who
    whom whose when where why how please
    """.split()
)
_OPPOSITES = tuple(
    pair.split("/")
    for pair in """
    before/after increase/decrease enable/disable start/stop open/close buy/sell min/max minimum/maximum
    highest/lowest most/least best/worst cheapest/expensive oldest/newest from/to with/without more/less
    left/right win/lose import/export encode/decode encrypt/decrypt upload/download
    """.split()
)


class _Query:
    """A query, taken apart once for all the checks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = _words(text)
        self.vocabulary = frozenset(self.words)


def veto(asked: str, cached: str) -> str | None:
    """Return why the answer to `cached` must not be given to `asked`, or None.

    Reasons: ``numbers``, ``symbols``, ``layout``, ``negation``, ``opposites``, ``names``, ``order``.
    """
    one, other = _Query(asked), _Query(cached)
    return next((reason for reason, differ in _CHECKS if differ(one, other)), None)


def _numbers(query: _Query) -> tuple[list[str], list[str]]:
    return _NUMBER.findall(query.text), [word for word in query.words if word in _NUMBER_WORDS]


def _indents(query: _Query) -> list[str]:
    """Return how lines are indented, where any is: in code that is meaning."""
    indents = _INDENT.findall(query.text)
    return indents if any(indents) else []


def _is_negated(query: _Query) -> bool:
    return sum(word in _NEGATIONS or word.endswith("n't") for word in query.vocabulary) % 2 == 1


def _opposed(one: _Query, other: _Query) -> bool:
    only_one, only_other = one.vocabulary - other.vocabulary, other.vocabulary - one.vocabulary
    return any(
        (left in only_one and right in only_other) or (right in only_one and left in only_other)
        for left, right in _OPPOSITES
    ) or any(
        prefix + word in others
        for words, others in ((only_one, only_other), (only_other, only_one))
        for word in words
        for prefix in _OPPOSITE_PREFIXES
    )


def _other_names(one: _Query, other: _Query) -> bool:
    return _names(one.text) != _names(other.text) and _has_case(one.text) and _has_case(other.text)


def _reordered(one: _Query, other: _Query) -> bool:
    """Whether both say the same words of meaning in another order: "Paris to London", "London to Paris"."""
    mine, theirs = _orders(one.text), _orders(other.text)
    return sorted(mine[0]) == sorted(theirs[0]) and not any(order in theirs for order in mine)


def _orders(text: str) -> list[list[str]]:
    """Return the words of meaning as they stand, and with a clause put in front moved to the end."""
    front, comma, rest = text.partition(", ")
    clauses = [text, f"{rest} {front}"] if comma else [text]
    return [[word for word in _words(clause) if word not in _FUNCTION_WORDS] for clause in clauses]


_CHECKS: tuple[tuple[str, Callable[[_Query, _Query], bool]], ...] = (
    ("numbers", lambda one, other: _numbers(one) != _numbers(other)),
    ("symbols", lambda one, other: _SYMBOLS.findall(one.text) != _SYMBOLS.findall(other.text)),
    ("layout", lambda one, other: _indents(one) != _indents(other)),
    ("negation", lambda one, other: _is_negated(one) != _is_negated(other)),
    ("opposites", _opposed),
    ("names", _other_names),
    ("order", _reordered),
)


def _words(text: str) -> list[str]:
    return [word.casefold().replace("’", "'") for word in _WORD.findall(text)]


def _names(text: str) -> frozenset[str]:
    """Return the capitalised words that do not begin a sentence."""
    names, begins = set(), True
    for match in re.finditer(r"[\w'’]+|[.!?]", text):
        word = match[0]
        if word in ".!?":
            begins = True
            continue
        if not begins and word[0].isupper() and word != "I" and not word.startswith(("I'", "I’")):
            names.add(word.casefold().removesuffix("'s").removesuffix("’s"))
        begins = False
    return frozenset(names)


def _has_case(text: str) -> bool:
    return text != text.lower() and text != text.upper()

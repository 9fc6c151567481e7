"""Reasons why two similar queries do not have the same answer, which embeddings do not see.

Sentence embeddings hardly tell "with" from "without" or 2023 from 2024: at a cosine of 0.92 a fifth of
such traps is served wrongly (docs/caching.md). These checks are cheap and err on the side of a miss.
"""

import re

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_WORD = re.compile(r"[\w'’]+")
_NUMBER_WORDS = frozenset(
    """
    zero one two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred
    thousand million billion first second third fourth fifth last next
    """.split()
)
_NEGATIONS = frozenset(
    """
    no not never none nobody nothing neither nor without cannot can't cant don't dont doesn't doesnt
    didn't didnt isn't isnt aren't arent wasn't wasnt won't wont shouldn't shouldnt couldn't couldnt
    wouldn't wouldnt haven't havent hasn't hasnt except unless avoid disable remove stop deny
    exclude
    """.split()
)
_OPPOSITES = (
    ("before", "after"),
    ("increase", "decrease"),
    ("enable", "disable"),
    ("start", "stop"),
    ("open", "close"),
    ("buy", "sell"),
    ("min", "max"),
    ("minimum", "maximum"),
    ("highest", "lowest"),
    ("most", "least"),
    ("best", "worst"),
    ("cheapest", "expensive"),
    ("oldest", "newest"),
    ("from", "to"),
    ("with", "without"),
    ("more", "less"),
    ("left", "right"),
    ("win", "lose"),
    ("import", "export"),
    ("encode", "decode"),
    ("encrypt", "decrypt"),
    ("upload", "download"),
)


def veto(asked: str, cached: str) -> str | None:
    """Return why the answer to `cached` must not be given to `asked`, or None.

    Reasons: ``numbers``, ``negation``, ``opposites``, ``names``.
    """
    asked_words, cached_words = _words(asked), _words(cached)
    if _numbers(asked, asked_words) != _numbers(cached, cached_words):
        return "numbers"
    if len(asked_words & _NEGATIONS) % 2 != len(cached_words & _NEGATIONS) % 2:
        return "negation"
    if _opposed(asked_words, cached_words):
        return "opposites"
    if _names(asked) != _names(cached) and _has_case(asked) and _has_case(cached):
        return "names"
    return None


def _words(text: str) -> frozenset[str]:
    return frozenset(word.casefold().replace("’", "'") for word in _WORD.findall(text))


def _numbers(text: str, words: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(_NUMBER.findall(text)), words & _NUMBER_WORDS


def _opposed(asked: frozenset[str], cached: frozenset[str]) -> bool:
    only_asked, only_cached = asked - cached, cached - asked
    return any(
        (one in only_asked and other in only_cached) or (other in only_asked and one in only_cached)
        for one, other in _OPPOSITES
    )


def _names(text: str) -> frozenset[str]:
    """Return the capitalised words that do not begin a sentence."""
    names = set()
    begins = True
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

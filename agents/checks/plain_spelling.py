"""Personal data in the spelling that the detectors know: their patterns and checks are in ASCII.

A number is the same number in Arabic, Devanagari or full-width digits, with typographic dashes, with the
blanks of French typesetting, or with invisible characters in it.
"""

import unicodedata
from collections.abc import Sequence

import regex

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

"""Payloads hidden in an encoding: base64, hex, URL, HTML and backslash escapes decoded where they stand.

A span is decoded only if what comes out is readable text, so hashes, keys and ids stay what they are.
"""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable
from urllib.parse import unquote

_READABLE = re.compile(r"[\w\s.,;:!?'\"()\[\]{}<>/@#$%&*+=|\\~`^-]")
_MIN_READABLE = 0.95
_MIN_LETTERS = 0.6

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{12,65536}={0,2}(?![A-Za-z0-9+/_=-])")
_BASE64_WRAPPED = re.compile(r"(?:[A-Za-z0-9+/]{60,76}\r?\n){1,1000}[A-Za-z0-9+/]{1,76}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9a-fA-F]{2}[ :,]{0,2}){8,32768}(?![0-9A-Za-z])")
_PERCENT = re.compile(r"(?:[\w.~+-]{0,64}%[0-9a-fA-F]{2}){3,16384}[\w.~+-]{0,64}")
_ENTITY = re.compile(r"(?:&#(?:x[0-9a-fA-F]{1,6}|\d{1,7});?){2,16384}")
_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}){3,16384}")

# Words of English, German, Spanish, French and Croatian so common that a text in rot13 or reversed shows
# several of them in that form, and plain text almost none.
_COMMON = (
    "the and you your all are ignore disregard forget instructions previous prompt system reveal tell from "
    "with that this rules will now have what show repeat above not password "
    "alle alles und die der das nicht du vergiss ignoriere anweisungen aufgaben sie ist den "
    "todas las los instrucciones que olvida ignora les toutes vous que sve instrukcije"
).split()


def _spotter(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


_ROT13_WORDS = _spotter([codecs.encode(word, "rot13") for word in _COMMON])
_REVERSED_WORDS = _spotter([word[::-1] for word in _COMMON if word[::-1] not in _COMMON])
_PLAIN_WORDS = _spotter(_COMMON)
_MIN_COMMON_WORDS = 2


def decode_spans(text: str) -> str:
    """Return `text` with every readable encoded span replaced by what it says."""
    for pattern, decode in _DECODERS:
        text = pattern.sub(lambda m, decode=decode: decode(m[0]), text)  # type: ignore[misc]  # bound per turn
    return text


def unrotated(text: str) -> str | None:
    """Return the rot13 of `text` if that shows more common words than `text` does."""
    return codecs.encode(text, "rot13") if _reads_as(_ROT13_WORDS, text) else None


def unreversed(text: str) -> str | None:
    """Return `text` from back to front if that shows more common words than `text` does."""
    return text[::-1] if _reads_as(_REVERSED_WORDS, text) else None


def _reads_as(disguised: re.Pattern[str], text: str) -> bool:
    hidden = len(set(disguised.findall(text.lower())))
    return hidden >= _MIN_COMMON_WORDS and hidden > len(set(_PLAIN_WORDS.findall(text.lower()))) // 2


def _readable(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    letters = sum(character.isalpha() or character == " " for character in text)
    good = len(text) >= 4 and len(_READABLE.findall(text)) >= _MIN_READABLE * len(text)
    return text if good and letters >= _MIN_LETTERS * len(text) else None


def _decode_base64(span: str) -> str:
    body = re.sub(r"[\s=]", "", span).replace("-", "+").replace("_", "/")
    if body.isalpha() and (body.islower() or body.isupper()):
        return span  # a word or a run of letters
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        return span
    return _readable(data) or span


def _decode_hex(span: str) -> str:
    digits = re.sub(r"0x|\\x|[ :,]", "", span)
    text = _readable(bytes.fromhex(digits))
    return f"{text} " if text else span


def _decode_escapes(span: str) -> str:
    return codecs.decode(span, "unicode_escape")


_DECODERS: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (_PERCENT, lambda span: unquote(span.replace("+", " "), errors="replace")),
    (_ENTITY, html.unescape),
    (_ESCAPE, _decode_escapes),
    (_HEX, _decode_hex),
    (_BASE64_WRAPPED, _decode_base64),
    (_BASE64, _decode_base64),
)

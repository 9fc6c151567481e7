"""Fields of a provider's JSON: null and missing are the same; a `Malformed` names one of another type.

Texts are made encodable, because JSON can say what UTF-8 cannot: a provider that cuts its answer after so
many UTF-16 units sends half a character. Halves are joined, over pieces of a stream as well; one that stays
alone becomes U+FFFD.
"""

import re
from typing import Any

from agents.providers.faults import Malformed

_ESCAPES = re.compile(
    r"\\(?:u(?P<half>d[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|d[c-f][0-9a-f]{2})"
    r"|ud[89ab][0-9a-f]{2}\\u[0-9a-f]{4}|.)",
    re.IGNORECASE | re.DOTALL,
)


def decoded(data: bytes) -> str:
    """Return the text in a provider's bytes; it may have halves of characters, as some servers write them.

    Other bytes that are no UTF-8 become U+FFFD.
    """
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode(errors="replace")


def encodable(text: str) -> str:
    """Return the text with its halves joined, and U+FFFD for each that has no other half."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encodable_escapes(text: str) -> str:
    r"""Return JSON in a text, or a part of it, with `\ufffd` for each half of a character it escapes."""
    if "\\ud" not in text.lower():
        return text
    return _ESCAPES.sub(lambda escape: r"\ufffd" if escape["half"] else escape[0], text)


_MAX_NAME_CHARS = 256


def field(value: object, name: str) -> object:
    """Return a field of an object; None where it has none, or is no object."""
    return value.get(name) if isinstance(value, dict) else None


def text(value: object, name: str) -> str:
    """Return a text as it came: its halves of characters may belong to those of the next piece."""
    if value is None or isinstance(value, str):
        return value or ""
    raise Malformed(f"`{name}` of the answer is {_kind(value)}, not a text")


def short(value: object) -> str:
    """Return a name or an id, short and encodable; empty where it is none. Numbers are names, too."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)
    return encodable(value[:_MAX_NAME_CHARS]) if isinstance(value, str) else ""


def number(value: object) -> int | None:
    """Return an index; None where it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def record(value: object, name: str) -> dict[str, Any]:
    """Return an object; an empty one for none."""
    if value is None or isinstance(value, dict):
        return value or {}
    raise Malformed(f"`{name}` of the answer is {_kind(value)}, not an object")


def records(value: object, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list; one object stands for a list of it."""
    found = [value] if isinstance(value, dict) else [] if value is None else value
    if not isinstance(found, list):
        raise Malformed(f"`{name}` of the answer is {_kind(value)}, not a list")
    return [record(each, name) for each in found]


def content(value: object) -> str:
    """Return the text of a message's content: a text, a list of parts, or none.

    Parts that are no text (reasoning, references) are left out.
    """
    if not isinstance(value, list):
        return text(value, "content")
    parts = [{"text": part} if isinstance(part, str) else record(part, "content") for part in value]
    return "".join(text(part.get("text"), "text") or text(part.get("refusal"), "refusal") for part in parts)


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object")

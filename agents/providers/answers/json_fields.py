"""Fields of a provider's JSON: null and missing are the same.

A `Malformed` names a field whose value is of another type.
"""

from typing import Any

from agents.providers.answers.encodable import encodable
from agents.providers.faults import Malformed

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

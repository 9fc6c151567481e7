"""Replaces every text in a value made of structs, dicts, lists and scalars, wherever it stands.

Nothing is left out by being forgotten: a field that nobody has named here is changed like any other. What
must stay as it is (ids that have to match, say) is named by its path, e.g. ``messages[].tool_call_id``; texts
of a few places have a form of their own, which they keep:

* the value of a key ``name``, and every key itself, has the characters that providers allow in names;
* the value of a key ``arguments`` is JSON in a text, and stays JSON.
"""

import json
import re
from collections.abc import Callable, Container
from typing import Any, TypeVar

import msgspec

from agents.checks.phone import says_phone
from agents.checks.pii import Redaction
from streams.request_rules.chat import MAX_JSON_DEPTH, depth_exceeds

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]+")
_MAX_NAME_CHARS = 64
#: Keywords of JSON Schema whose numbers are limits: 2147483647 looks like a telephone number.
_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


T = TypeVar("T")


#: Replaces the personal data in a text: `pii.redact`, or another.
Redact = Callable[[str], Redaction]


class TextWalk:
    """One walk over a value. `types` has what was found, each type once, in order of appearance.

    Args:
        redact: replaces personal data in a text.
        kept: paths of the texts that stay as they are.
    """

    def __init__(self, redact: Redact, *, kept: Container[str] = ()) -> None:
        self._redact = redact
        self._kept = kept
        self._types: dict[str, None] = {}

    @property
    def types(self) -> tuple[str, ...]:
        """The types of personal data that were found."""
        return tuple(self._types)

    def text(self, text: str) -> str:
        """Return a text without personal data."""
        found = self._redact(text)
        self._types.update(dict.fromkeys(found.types))
        return found.text

    def value(self, value: T, path: str = "") -> T:
        """Return the same value with every text in it replaced; what has not changed is the same object."""
        changed: Any = value
        if path in self._kept:
            return value
        if isinstance(value, msgspec.Struct):
            changed = self._struct(value, path)
        elif isinstance(value, dict):
            changed = {
                self._name(key): self._member(key, each, f"{path}.{key}") for key, each in value.items()
            }
        elif isinstance(value, list | tuple):
            changed = type(value)(self.value(each, f"{path}[]") for each in value)
        elif isinstance(value, str):
            changed = self._name(value) if path.endswith(".name") else self.text(value)
        return value if changed == value else changed

    def _struct(self, struct: msgspec.Struct, path: str) -> msgspec.Struct:
        fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
        prefix = f"{path}." if path else ""
        changed = {name: self.value(each, prefix + name) for name, each in fields.items()}
        return msgspec.structs.replace(struct, **changed)

    def _member(self, key: str, value: Any, path: str) -> Any:
        """Return a dict's value. Its key is context: what a key `phone` has is a telephone number."""
        if path in self._kept:
            return value
        if isinstance(value, list):
            return [self._member(key, each, f"{path}[]") for each in value]
        if isinstance(value, str):
            return self._special(key, value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if key in _LIMITS else self._number(key, value)
        return self.value(value, path)

    def _special(self, key: str, text: str) -> str:
        if key == "name":
            return self._name(text)
        if key == "arguments":
            return self._json(text)
        return self._in_context(key, text)

    def _in_context(self, key: str, text: str) -> str:
        said = f"{_words(key)}: "
        found = self._redact(said + text)
        if not found.text.startswith(said):
            return self.text(text)
        self._types.update(dict.fromkeys(found.types))
        return found.text[len(said) :]

    def _name(self, name: str) -> str:
        """Return a name: what stands for personal data in it has no character that providers refuse."""
        found = self._redact(_words(name))
        if not found.types:
            return name
        self._types.update(dict.fromkeys(found.types))
        return _NOT_IN_NAMES.sub("_", found.text).strip("_")[:_MAX_NAME_CHARS]

    def _number(self, key: str, number: Any) -> Any:
        """Return a number, or what stands for it: a telephone number only where its key says so."""
        if isinstance(number, float) and not number.is_integer():
            return number
        found = self._redact(f"{_words(key)}: {int(number)}")
        types = [kind for kind in found.types if kind != "phone" or says_phone(_words(key))]
        if not types:
            return number
        self._types.update(dict.fromkeys(types))
        return found.text.partition(": ")[2]

    def _json(self, text: str) -> str:
        """Return JSON in a text, redacted within its values; the same text where nothing is found."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text)
        if depth_exceeds(value, MAX_JSON_DEPTH):
            return self.text(text)
        clean = self._member("", value, "")
        # Of a key that is given twice the walk sees one value; the text may have personal data in the other.
        if clean == value and not self._redact(text).types:
            return text
        return json.dumps(clean, ensure_ascii=False)


def texts_of(value: Any, *, kept: Container[str] = (), path: str = "") -> list[str]:
    """Return every text in a value, keys included, in order."""
    found: list[str] = []

    def note(text: str) -> Redaction:
        found.append(text)
        return Redaction(text)

    TextWalk(note, kept=kept).value(value, path)
    return found


def _words(name: str) -> str:
    """Return a name as words: the detectors take no number that has a letter or `_` beside it."""
    return name.replace("_", " ")

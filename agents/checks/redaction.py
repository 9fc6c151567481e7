"""Redacts every text of a request, or of a value made of structs, dicts, lists and scalars.

No field is forgotten: every text is redacted, unless its path is among those that must stay as they are (ids
that have to match, for example ``messages[].tool_call_id``). Two kinds of text keep a form of their own:

* the value of a key ``name``, and every key itself, has the characters that providers allow in names;
* the value of a key ``arguments`` is JSON in a text, and stays JSON.
"""

import json
import re
from collections.abc import Container, Mapping
from typing import Any, TypeVar

import msgspec

from agents.checks.phone import says_phone
from agents.checks.pii import Redact, Redaction
from streams.events import ChatRequested, Message, Requested
from streams.request_rules.chat import MAX_JSON_DEPTH, depth_exceeds
from streams.settings import InjectionSource

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]+")
_MAX_NAME_CHARS = 64
#: Keywords of JSON Schema whose numbers are limits: 2147483647 looks like a telephone number.
_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


T = TypeVar("T")
R = TypeVar("R", bound=Requested)

#: Texts of a request that are not redacted, and why. Whatever is not named here is.
KEPT: Mapping[str, str] = {
    "request_id": "names the request; its sender looks the reply up by it",
    "user_id": "says who asks; providers get a hash of it, and `headrace privacy` erases it",
    "tenant": "says whose request it is; comes from the API key",
    "tier": "says how the request is served",
    "session_id": "tells sessions apart; no provider gets it",
    "template": "names a prompt template of the installation",
    "model": "one of the models of the catalogue",
    "on_disconnect": "one of two words",
    "webhook": "must be reached as it stands; no provider gets it",
    "messages[].role": "one of five words",
    "messages[].tool_call_id": "minted by a provider; must match the call's id",
    "messages[].tool_calls[].id": "minted by a provider; the tool's result names it",
}

#: How models may read the parts of a message: each apart, or as they stand one behind the other.
_GAPS = ("\n", "", " ")
_DEFINITIONS = ("tools", "tool_choice", "response_format")


class TextWalk:
    """One walk over a value, in which the texts at the paths `kept` stay as they are."""

    def __init__(self, redact: Redact, *, kept: Container[str] = ()) -> None:
        self._redact = redact
        self._kept = kept
        self._types: dict[str, None] = {}

    @property
    def types(self) -> tuple[str, ...]:
        """The types of personal data that were found, each once, in order of appearance."""
        return tuple(self._types)

    def text(self, text: str) -> str:
        """Return a text without personal data."""
        return self._note(self._redact(text))

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

    def _note(self, found: Redaction) -> str:
        self._types.update(dict.fromkeys(found.types))
        return found.text

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
        return self._note(found)[len(said) :]

    def _name(self, name: str) -> str:
        """Return a name: what stands for personal data in it has no character that providers refuse."""
        found = self._redact(_words(name))
        if not found.types:
            return name
        return _NOT_IN_NAMES.sub("_", self._note(found)).strip("_")[:_MAX_NAME_CHARS]

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


def redacted(request: R, redact: Redact) -> tuple[R, tuple[str, ...]]:
    """Return a request without personal data, and the types that were in it, in order of appearance."""
    walk = TextWalk(redact, kept=KEPT)
    clean = walk.value(request)
    if isinstance(clean, ChatRequested) and clean.messages:
        messages = tuple(_joined(message, walk) for message in clean.messages)
        clean = msgspec.structs.replace(clean, messages=messages)
    return clean, walk.types


def _joined(message: Message, walk: TextWalk) -> Message:
    """Return a message in whose parts together there is no personal data either: models read them as one."""
    if not isinstance(message.content, tuple) or len(message.content) == 1:
        return message
    for gap in _GAPS:
        text = gap.join(part.text for part in message.content)
        clean = walk.text(text)
        if clean != text:
            return message.with_text(clean)
    return message


def untrusted_texts(request: ChatRequested, sources: Container[InjectionSource]) -> list[str]:
    """Return the texts that come from `sources`; of a message, its text, name and tool calls together."""
    texts: list[str] = []
    if "user" in sources:
        texts.append(request.query or "")
    if "variables" in sources:
        texts += (request.variables or {}).values()
    for message in request.messages or ():
        if message.role in sources:
            rest = msgspec.structs.replace(message, content=None)
            texts.append("\n".join([message.text, *texts_of(rest, kept=KEPT, path="messages[]")]))
    if "tools" in sources:
        texts += ["\n".join(texts_of(getattr(request, name), path=name)) for name in _DEFINITIONS]
    return [text for text in texts if text.strip()]

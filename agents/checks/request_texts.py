"""The texts of a request: which are redacted (all), and which are looked through for injections."""

from collections.abc import Container, Mapping
from typing import TypeVar

import msgspec

from agents.checks.json_texts import Redact, TextWalk, texts_of
from streams.events import ChatRequested, Message, Requested
from streams.settings import InjectionSource

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

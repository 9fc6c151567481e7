"""Where an answer belongs in the cache: which requests may share it, and by which text they match."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agents.cache.veto import depends_on_time
from streams.events import CacheSlot, ChatRequested, Envelope, Message, PromptRef

#: Fields of a request that are not part of the question, and why. Every other field is.
NOT_ASKED: Mapping[str, str] = {
    "request_id": "names the request",
    "tenant": "in every scope, as the envelope has it",
    "user_id": "in the scope where the answer is private",
    "session_id": "in every scope",
    "tier": "says how the request is served",
    "query": "the text that is compared",
    "messages": "the last one is compared; the others, and all but its text, are in the scope",
    "template": "in the scope, with its version",
    "variables": "in the scope, but for `query`",
    "model": "in the scope, as it was chosen for the request",
    "stream": "says how the answer is delivered",
    "deadline_ms": "says how long the sender waits",
    "on_disconnect": "says what becomes of a request whose client leaves",
    "webhook": "says who is told of the end",
    "accepted_at": "when it was asked; a question that depends on that is not shared at all",
    "metadata": "no model sees it",
    "headrace_cache": "says how the cache is used",
}

#: Parameters of how a provider serves, caches and bills a call. Any other one may change the answer.
_SERVING = frozenset(
    {
        "cache_control",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
    }
)

_QUOTES = re.compile('["`“”„«»]')
#: A longer variable is a document, in which "today" is the document's.
_MAX_QUESTION_CHARS = 500


def cache_slot(
    envelope: Envelope,
    messages: tuple[Message, ...],
    prompt: PromptRef | None,
    *,
    model: str,
    max_temperature: float = 2.0,
    vectors: str = "",
    checked_by: str = "",
) -> CacheSlot | None:
    """Return the slot of a request, or None where its answer must not be shared.

    The scope is a hash of everything that must be equal for an answer to be given again: tenant, model,
    prompt version, every parameter, the other variables, and the conversation without the text of its last
    message. Answers of another tenant or conversation can therefore not be found. Requests in which personal
    data was redacted, and those of a session, share answers only within one user.

    A request with a temperature above `max_temperature` wants another answer each time. `vectors` is the
    embedder's name: vectors of two embedders must not be compared. `checked_by` is the output policy: an
    answer that passed one is not given again under another.
    """
    request, last = envelope.request, messages[-1]
    if request.tools or request.tool_choice or last.role != "user":
        return None
    if (request.temperature or 0) > max_temperature or _depends_on_time(request):
        return None
    verdict = envelope.input_verdict
    private = bool(verdict and verdict.pii_types) or request.session_id is not None
    asked = request.query if request.messages is None else last.text
    text = _normalised(asked or "")
    if not text:
        return None
    scope = [
        envelope.tenant,
        envelope.user_id if private else "",
        request.session_id or "",
        model,
        prompt.name if prompt else "",
        prompt.version if prompt else "",
        _parameters(request),
        [*messages[:-1], _without_text(last)] if request.messages is not None else [],
        {name: value for name, value in (request.variables or {}).items() if name != "query"},
        vectors,
        checked_by,
    ]
    return CacheSlot(
        scope=_hash(msgspec.json.encode(scope, order="deterministic")),
        exact_key=_hash(text.encode("utf-8", "surrogatepass")),
        text=text,
    )


def _depends_on_time(request: ChatRequested) -> bool:
    """Whether the answer may be another one tomorrow, by what the users of the conversation have asked."""
    asked = [
        request.query or "",
        *(message.text for message in request.messages or () if message.role == "user"),
    ]
    asked += [text for text in (request.variables or {}).values() if len(text) <= _MAX_QUESTION_CHARS]
    return any(depends_on_time(text) for text in asked)


def _normalised(asked: str) -> str:
    """Return the text with single blanks, unless it has several lines or quotes: there, blanks may matter."""
    text = asked.strip()
    return text if "\n" in text or _QUOTES.search(text) else " ".join(text.split())


def _parameters(request: ChatRequested) -> dict[str, Any]:
    """Return every field that is not named in `NOT_ASKED`, including those that are added later."""
    names = (name for name in request.__struct_fields__ if name not in NOT_ASKED)
    asked = {name: getattr(request, name) for name in names}
    asked["params"] = {name: value for name, value in (request.params or {}).items() if name not in _SERVING}
    return asked


def _without_text(message: Message) -> list[Any]:
    """Return a message without its text: its role, say, and its number of parts."""
    parts = len(message.content) if isinstance(message.content, tuple) else 1
    return [msgspec.structs.replace(message, content=None), parts]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]

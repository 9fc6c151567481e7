"""Where an answer belongs in the cache: which requests may share it, and by what text they match."""

import hashlib

import msgspec

from streams.codec import encode
from streams.events import CacheSlot, Envelope, Message, PromptRef


def cache_slot(
    envelope: Envelope,
    messages: tuple[Message, ...],
    prompt: PromptRef | None,
    *,
    vectors: str = "",
    checked_by: str = "",
) -> CacheSlot | None:
    """Return the slot of a request, or None where its answer must not be shared.

    The scope is a hash of everything that must be equal for an answer to be given again: tenant,
    model, prompt version, parameters, the other variables, and the whole conversation before the
    last message. So another tenant's or another conversation's answer cannot be found at all.
    Requests in which personal data was redacted share answers only within one user.

    Args:
        envelope: the request.
        messages: its rendered prompt.
        prompt: the version that was rendered, if any.
        vectors: which embedder makes the vectors: those of two embedders must not be compared.
        checked_by: the output policy: an answer that one let pass is not given again under another.
    """
    request = envelope.request
    if request.tools or request.tool_choice or messages[-1].role != "user":
        return None
    verdict = envelope.input_verdict
    private = bool(verdict and verdict.pii_types) or request.session_id is not None
    asked = request.query if request.messages is None else messages[-1].text
    text = _normalised(asked or "")
    if not text:
        return None
    scope = [
        envelope.tenant,
        envelope.user_id if private else "",
        request.session_id or "",
        request.model or "",
        prompt.name if prompt else "",
        prompt.version if prompt else "",
        _parameters(envelope),
        encode_messages(messages[:-1]) if request.messages is not None else "",
        _other_variables(envelope),
        vectors,
        checked_by,
    ]
    return CacheSlot(scope=_hash(msgspec.json.encode(scope).decode()), exact_key=_hash(text), text=text)


def encode_messages(messages: tuple[Message, ...]) -> str:
    """Return a canonical text of a conversation."""
    return "\x1e".join(encode(message).decode() for message in messages)


def _normalised(asked: str) -> str:
    """Return the text without blanks that mean nothing; between several lines they may mean something."""
    text = asked.strip()
    return text if "\n" in text else " ".join(text.split())


def _parameters(envelope: Envelope) -> str:
    request = envelope.request
    parameters = [
        request.temperature,
        request.top_p,
        request.max_tokens,
        request.stop,
        request.seed,
        request.response_format,
    ]
    return msgspec.json.encode(parameters, order="deterministic").decode()


def _other_variables(envelope: Envelope) -> str:
    others = {name: value for name, value in (envelope.request.variables or {}).items() if name != "query"}
    return msgspec.json.encode(others, order="deterministic").decode()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

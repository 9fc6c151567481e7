"""What one stage hands to the next."""

from enum import StrEnum

from streams.events.calls import Completion, ErrorInfo
from streams.events.envelope import Envelope
from streams.events.event import Event
from streams.events.requests import Message


class RequestGuarded(Event, frozen=True, kw_only=True):
    """The request passed the input guardrails; personal data in it is redacted."""

    envelope: Envelope


class CacheSlot(Event, frozen=True, kw_only=True):
    """Where the answer is cached once it is checked.

    `scope` isolates tenant, model route, prompt version and conversation. `vector` is the query's embedding
    as little-endian float32 bytes; without it only an exact match is possible.
    """

    scope: str
    exact_key: str
    text: str
    vector: bytes | None = None


class CacheMissed(Event, frozen=True, kw_only=True):
    """No cached answer: `messages` is the rendered prompt that the model will see."""

    envelope: Envelope
    messages: tuple[Message, ...]
    default_model: str
    max_output_tokens: int
    cache_slot: CacheSlot | None = None


class Completed(Event, frozen=True, kw_only=True):
    """A model answered; the answer is not checked yet."""

    envelope: Envelope
    messages: tuple[Message, ...]
    completion: Completion
    cache_slot: CacheSlot | None = None


class Status(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    CACHED = "cached"
    DEGRADED = "degraded"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OutcomeReached(Event, frozen=True, kw_only=True):
    """The request has ended; only the accounting is left."""

    envelope: Envelope
    status: Status
    completion: Completion | None = None
    error: ErrorInfo | None = None

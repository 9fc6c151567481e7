"""The envelope: everything that is known of one request so far. It travels through all stages."""

from datetime import datetime
from enum import StrEnum

from streams.events.calls import LlmCall
from streams.events.event import Event
from streams.events.requests import ChatRequested


class ReplyAddress(Event, frozen=True, kw_only=True):
    """Where the reply goes: the request–reply headers of Spring's `ReplyingKafkaTemplate`."""

    topic: str
    partition: int | None = None
    correlation_id: bytes | None = None


class Timing(Event, frozen=True, kw_only=True):
    """One execution of a stage: microseconds in the queue, microseconds of work."""

    stage: str
    started_at: datetime
    queue_us: int
    work_us: int
    outcome: str


class InputVerdict(Event, frozen=True, kw_only=True):
    """What the guardrail found in the request."""

    passed: bool
    rule: str | None = None
    reason: str | None = None
    pii_types: tuple[str, ...] = ()
    input_tokens: int = 0


class PromptRef(Event, frozen=True, kw_only=True):
    """The prompt version that was rendered, and the experiment arm that chose it."""

    name: str
    version: str
    experiment: str | None = None
    arm: str | None = None


class CacheKind(StrEnum):
    """How the cache was consulted."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    MISS = "miss"
    BYPASS = "bypass"


class CacheLookup(Event, frozen=True, kw_only=True):
    """The result of a cache lookup. `similarity` is a cosine, `age_s` the age of the cached answer."""

    kind: CacheKind
    similarity: float | None = None
    source_request_id: str | None = None
    age_s: int | None = None

    @property
    def hit(self) -> bool:
        """Whether the answer came from the cache."""
        return self.kind in (CacheKind.EXACT, CacheKind.SEMANTIC)


class OutputVerdict(Event, frozen=True, kw_only=True):
    """What the output check found in the answer."""

    passed: bool
    rule: str | None = None
    reason: str | None = None
    redacted_types: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class Envelope(Event, frozen=True, kw_only=True):
    """Everything that is known of one request so far.

    Of an embeddings request, `request` holds who asks and how, without the texts. `replay` counts how often
    an operator has replayed a dead letter of the request.
    """

    request_id: str
    tenant: str
    user_id: str
    tier: str
    accepted_at: datetime
    deadline_at: datetime
    request: ChatRequested
    reply_to: ReplyAddress
    session_id: str | None = None
    traceparent: str | None = None
    timings: tuple[Timing, ...] = ()
    input_verdict: InputVerdict | None = None
    prompt: PromptRef | None = None
    cache: CacheLookup | None = None
    calls: tuple[LlmCall, ...] = ()
    output_verdict: OutputVerdict | None = None
    replay: int = 0

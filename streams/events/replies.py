"""What goes back to the sender: pieces of an answer, the one reply, a webhook."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events.calls import Embeddings, ErrorInfo, Usage
from streams.events.envelope import CacheKind, PromptRef, Timing
from streams.events.event import Event
from streams.events.stages import Status


class Delta(Event, frozen=True, kw_only=True):
    """A checked piece of a streamed answer. A higher `attempt` replaces all pieces of lower ones.

    `cache_kind` is in the first piece of an attempt (`seq` 0) only.
    """

    request_id: str
    attempt: int
    seq: int
    text: str
    cache_kind: CacheKind | None = None


class Reply(Event, frozen=True, kw_only=True):
    """The one terminal reply of a request.

    Attributes:
        similarity: the cosine of the question and the cached question.
        cache_age_s: the age of the cached answer, in seconds.
        pii_detected: kinds of personal data that were redacted.
        repeat: the request was sent again; this is the stored reply.
        replay: how often an operator replayed the request's dead letter. The reply with the highest counts.
    """

    request_id: str
    status: Status
    content: str = ""
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage = Usage()
    cost_usd: Decimal = Decimal(0)
    cache_hit: bool = False
    similarity: float | None = None
    cache_kind: CacheKind | None = None
    cache_age_s: int | None = None
    pii_detected: tuple[str, ...] = ()
    prompt: PromptRef | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tools_used: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    accepted_at: datetime | None = None
    attempt: int = 1
    error: ErrorInfo | None = None
    repeat: bool = False
    replay: int = 0
    embeddings: Embeddings | None = None


class WebhookDue(Event, frozen=True, kw_only=True):
    """A webhook to send: the reply, stored and sent already, goes to `url`."""

    request_id: str
    tenant: str
    url: str
    reply: Reply

"""A request for embeddings while it is worked on: its texts without personal data."""

from collections.abc import Iterable

import msgspec

from agents.checks.pii import Redact
from agents.checks.redaction import redacted
from agents.paid_calls.paid_request import PaidRequest
from agents.stores.journal_entries import Lease
from streams.events import EmbeddingsRequested, Envelope, InputVerdict, LlmCall
from streams.models import EmbeddingModel
from streams.request_rules.chat import MAX_CONTENT_CHARS


class EmbeddingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as the model sees it. `input_tokens` is our own count, of the texts as they were sent."""

    envelope: Envelope
    model: EmbeddingModel
    inputs: tuple[str, ...]
    input_tokens: int
    dimensions: int | None


class EmbeddingRequest(PaidRequest):
    """One request while it is worked on."""

    def __init__(self, order: EmbeddingOrder, lease: Lease, calls: Iterable[LlmCall] = ()) -> None:
        super().__init__(order.envelope, lease, input_tokens=order.input_tokens, calls=calls)
        self.order = order


def order_of(
    request: EmbeddingsRequested,
    envelope: Envelope,
    *,
    model: EmbeddingModel,
    input_tokens: int,
    redact: Redact,
) -> EmbeddingOrder:
    """Return the order for a checked request.

    Nobody but the sender sees the texts again. What the envelope holds of them, for the log record, is
    redacted too, and no longer than a message may be.
    """
    clean, types = redacted(request, redact)
    told = msgspec.structs.replace(envelope.request, query="\n".join(clean.inputs)[:MAX_CONTENT_CHARS])
    return EmbeddingOrder(
        envelope=msgspec.structs.replace(
            envelope,
            request=told,
            input_verdict=InputVerdict(passed=True, pii_types=types, input_tokens=input_tokens),
        ),
        model=model,
        inputs=clean.inputs,
        input_tokens=input_tokens,
        dimensions=request.dimensions,
    )

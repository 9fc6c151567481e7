"""What is asked of a model: texts without personal data, and what is told of them afterwards."""

import msgspec

from agents.checks.json_texts import Redact
from agents.checks.request_texts import redacted
from streams.events import EmbeddingsRequested, Envelope, InputVerdict
from streams.models import EmbeddingModel
from streams.request_rules.chat import MAX_CONTENT_CHARS


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as the model sees it. `input_tokens` is our own count, of the texts as they were sent."""

    envelope: Envelope
    model: EmbeddingModel
    inputs: tuple[str, ...]
    input_tokens: int
    dimensions: int | None


def order_of(
    request: EmbeddingsRequested,
    envelope: Envelope,
    *,
    model: EmbeddingModel,
    input_tokens: int,
    redact: Redact,
) -> Order:
    """Return the order for a checked request.

    Nobody but the sender sees the texts again: what the envelope has of them, for the log record, is redacted
    too, and as much as a message may have.
    """
    clean, types = redacted(request, redact)
    told = msgspec.structs.replace(envelope.request, query="\n".join(clean.inputs)[:MAX_CONTENT_CHARS])
    return Order(
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

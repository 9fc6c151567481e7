"""Renders a reply as OpenAI's list of embeddings."""

import base64
from collections.abc import Iterator
from struct import unpack
from typing import Any

from ingest.errors import conflict
from ingest.openai.chat_answers import headrace_extension
from ingest.openai.embeddings_schema import EncodingFormat
from streams.events import Embeddings, Reply

_BYTES_PER_NUMBER = 4


def embeddings_list(
    reply: Reply, *, encoding_format: EncodingFormat, fallback_model: str, latency_ms: float
) -> dict[str, Any]:
    """Return OpenAI's list, with Headrace's own fields under `headrace`, which the SDK leaves alone.

    The vectors are exactly those of the model: base64 has its bytes, and each JSON number has all the digits
    of its float32.

    Raises:
        ApiError: 409, the request was answered before, and its vectors are no longer kept.
    """
    embeddings = reply.embeddings
    if embeddings is None or not embeddings.vectors:
        raise conflict(
            "this request was answered before, and its vectors are no longer kept: "
            "send it under a new Idempotency-Key, as a new request",
            code="embeddings_expired",
            param="Idempotency-Key",
        )
    render = _as_base64 if encoding_format == "base64" else _as_numbers
    data = [
        {"object": "embedding", "index": index, "embedding": render(vector)}
        for index, vector in enumerate(_vectors(embeddings))
    ]
    return {
        "object": "list",
        "data": data,
        "model": reply.model or fallback_model,
        "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.input_tokens},
        "headrace": headrace_extension(reply, latency_ms=latency_ms),
    }


def _vectors(embeddings: Embeddings) -> Iterator[bytes]:
    length = embeddings.dimensions * _BYTES_PER_NUMBER
    for at in range(0, embeddings.count * length, length):
        yield embeddings.vectors[at : at + length]


def _as_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _as_numbers(vector: bytes) -> tuple[float, ...]:
    return unpack(f"<{len(vector) // _BYTES_PER_NUMBER}f", vector)

"""`POST /v1/embeddings`: OpenAI's Embeddings, for its official clients as they are."""

import asyncio
import base64
from struct import unpack
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.errors import conflict
from ingest.openai.chat_answers import headrace_extension
from ingest.openai.embeddings_schema import EmbeddingsBody, EncodingFormat, embeddings_request
from ingest.openapi import ASKING_ERRORS, body_of
from ingest.services import ServicesDep
from ingest.submit.asking import answer, ask_of, raise_for
from ingest.submit.body import decode_body, read_body
from ingest.submit.headers import deadline_header, user_header
from streams.events import Reply
from streams.request_rules.embeddings import EmbeddingLimits, check_embeddings

router = APIRouter(tags=["OpenAI-compatible"])

#: Bodies from this size on are checked in a thread, because counting their tokens takes long.
_LONG_BYTES = 8_192
_BYTES_PER_NUMBER = 4


@router.post("/v1/embeddings", openapi_extra=body_of(EmbeddingsBody), responses=ASKING_ERRORS)
async def embeddings(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Return the vectors of some texts, as OpenAI's API does."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = decode_body(data, EmbeddingsBody)
    wanted = embeddings_request(
        body, user_header=user_header(request.headers), deadline_ms=deadline_header(request.headers)
    )
    limits = EmbeddingLimits.from_settings(services.settings)
    if len(data) > _LONG_BYTES:
        await asyncio.to_thread(check_embeddings, wanted, limits)
    else:
        check_embeddings(wanted, limits)
    ask = await ask_of(request, caller, wanted, services)

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        return embeddings_list(
            reply,
            encoding_format=body.encoding_format or "float",
            fallback_model=body.model,
            latency_ms=latency_ms,
        )

    return await answer(request, ask, services, render)


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
    length = embeddings.dimensions * _BYTES_PER_NUMBER
    vectors = [embeddings.vectors[at : at + length] for at in range(0, embeddings.count * length, length)]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector).decode()
            if encoding_format == "base64"
            else unpack(f"<{embeddings.dimensions}f", vector),
        }
        for index, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": data,
        "model": reply.model or fallback_model,
        "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.input_tokens},
        "headrace": headrace_extension(reply, latency_ms=latency_ms),
    }

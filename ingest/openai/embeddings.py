"""`POST /v1/embeddings`: OpenAI's Embeddings, for its official clients as they are."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.openai.embeddings_answers import embeddings_list
from ingest.openai.embeddings_schema import EmbeddingsBody, embeddings_request
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

"""`POST /v1/embeddings`: OpenAI's Embeddings, for its official clients as they are."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.errors import invalid
from ingest.openai.embeddings_answers import embeddings_list
from ingest.openai.embeddings_schema import EmbeddingsBody, embeddings_request
from ingest.openapi import ASKING_ERRORS, body_of
from ingest.outcomes import status_of_mistake
from ingest.services import Services, ServicesDep
from ingest.submit.asking import answer_json, checked_ask, deadline_header, raise_for, user_header
from ingest.submit.body import decode_body, read_body
from streams.errors import InputError
from streams.events import EmbeddingsRequested, Reply
from streams.request_rules.embeddings import EmbeddingLimits, check_embeddings

router = APIRouter(tags=["OpenAI-compatible"])

#: From this size on the tokens are counted in a thread.
_LONG_BYTES = 8_192


@router.post("/v1/embeddings", openapi_extra=body_of(EmbeddingsBody), responses=ASKING_ERRORS)
async def embeddings(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Return the vectors of some texts, in OpenAI's words."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = decode_body(data, EmbeddingsBody)
    wanted = embeddings_request(body, user_header=user_header(request), deadline_ms=deadline_header(request))
    await _check(wanted, services, long=len(data) > _LONG_BYTES)
    ask = await checked_ask(request, caller, wanted, services)

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        return embeddings_list(
            reply,
            encoding_format=body.encoding_format or "float",
            fallback_model=body.model,
            latency_ms=latency_ms,
        )

    return await answer_json(request, ask, services, render)


async def _check(wanted: EmbeddingsRequested, services: Services, *, long: bool) -> None:
    """Check what is wanted by the rules of the stage that works on it.

    Raises:
        ApiError: 400 (404 for an unknown model), with the field and what it must be.
    """
    limits = EmbeddingLimits.from_settings(services.settings)
    try:
        if long:
            await asyncio.to_thread(check_embeddings, wanted, limits)
        else:
            check_embeddings(wanted, limits)
    except InputError as fault:
        raise invalid(
            fault.message, param=fault.param, code=fault.code, status=status_of_mistake(fault.code)
        ) from None

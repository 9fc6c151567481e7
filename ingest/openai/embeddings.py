"""`POST /v1/embeddings`: OpenAI's Embeddings, for its official clients as they are."""

import asyncio
import base64
from struct import unpack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from msgspec import Meta, Struct
from starlette.responses import Response

from ingest.auth import SenderDep
from ingest.errors import conflict
from ingest.openai.chat_completions import headrace_extension
from ingest.openapi import ASKING_ERRORS, body_of
from ingest.services import ServicesDep
from ingest.submit.http_message import deadline_header, decode_body, read_body, user_header
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.errors import InvalidRequest
from streams.events import MAX_EMBEDDING_CHARS, MAX_EMBEDDING_INPUTS, EmbeddingsRequested, Name, Reply
from streams.request_rules.embeddings import check_embeddings
from streams.serving.api_keys import DEFAULT_USER

router = APIRouter(tags=["OpenAI-compatible"])

#: Bodies from this size on are checked in a thread, because counting their tokens takes long.
_LONG_BYTES = 8_192
_BYTES_PER_NUMBER = 4


EncodingFormat = Literal["float", "base64"]


class EmbeddingsBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/embeddings` takes."""

    # Token arrays are in the type, so that their refusal can say why.
    input: str | tuple[str | int | tuple[int, ...], ...]
    model: Name
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: EncodingFormat | None = None
    user: Name | None = None


@router.post("/v1/embeddings", openapi_extra=body_of(EmbeddingsBody), responses=ASKING_ERRORS)
async def embeddings(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Return the vectors of some texts, as OpenAI's API does."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = decode_body(data, EmbeddingsBody)
    wanted = embeddings_request(
        body, user_header=user_header(request.headers), deadline_ms=deadline_header(request.headers)
    )
    if len(data) > _LONG_BYTES:
        await asyncio.to_thread(check_embeddings, wanted, services.settings, services.models.current)
    else:
        check_embeddings(wanted, services.settings, services.models.current)
    prepared = await prepare(request, caller, wanted, services)

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        return embeddings_list(
            reply,
            encoding_format=body.encoding_format or "float",
            fallback_model=body.model,
            latency_ms=latency_ms,
        )

    return await answer(request, prepared, services, render)


def embeddings_request(
    body: EmbeddingsBody, *, user_header: str | None, deadline_ms: int | None
) -> EmbeddingsRequested:
    """Return the event for an Embeddings body; `InvalidRequest` for texts that are empty or too long."""
    given = (body.input,) if isinstance(body.input, str) else body.input
    if not 1 <= len(given) <= MAX_EMBEDDING_INPUTS:
        raise InvalidRequest(
            f"input must have 1 to {MAX_EMBEDDING_INPUTS} texts, not {len(given)}", param="input"
        )
    alone = isinstance(body.input, str)
    inputs = tuple(_text(each, "input" if alone else f"input[{index}]") for index, each in enumerate(given))
    return EmbeddingsRequested(
        user_id=user_header or body.user or DEFAULT_USER,
        inputs=inputs,
        model=body.model,
        dimensions=body.dimensions,
        deadline_ms=deadline_ms,
    )


def _text(given: str | int | tuple[int, ...], where: str) -> str:
    if not isinstance(given, str):
        raise InvalidRequest(
            "token arrays are not supported, because personal data in them could not be found: "
            "send the texts themselves (LangChain: check_embedding_ctx_length=False)",
            param="input",
            code="unsupported_parameter",
        )
    if not given:
        raise InvalidRequest(f"{where} must have at least one character", param=where, code="empty_string")
    if len(given) > MAX_EMBEDDING_CHARS:
        raise InvalidRequest(
            f"{where} has {len(given)} characters; at most {MAX_EMBEDDING_CHARS} are allowed: split it",
            param=where,
            code="string_above_max_length",
        )
    return given


def embeddings_list(
    reply: Reply, *, encoding_format: EncodingFormat, fallback_model: str, latency_ms: float
) -> dict[str, Any]:
    """Return OpenAI's list, with Headrace's own fields under `headrace`, which the SDK leaves alone.

    The vectors are exactly those of the model: base64 has its bytes, and each JSON number has all the digits
    of its float32. 409 where the request was answered before, and its vectors are no longer kept.
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

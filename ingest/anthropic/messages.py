"""`POST /v1/messages`: Anthropic's Messages, for its official clients as they are."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.anthropic.answers import MessageStream, message
from ingest.anthropic.conversation import as_sent, messages_request
from ingest.anthropic.schema import MessagesBody, decode_messages
from ingest.auth import CallerDep
from ingest.openapi import ASKING, body_of
from ingest.services import ServicesDep
from ingest.submit.body import read_body
from ingest.submit.headers import deadline_header, user_header
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.errors import InvalidRequest
from streams.events import Reply
from streams.serving.errors import ApiError

router = APIRouter(tags=["Anthropic-compatible"])


@router.post("/v1/messages", openapi_extra=body_of(MessagesBody), responses=ASKING)
async def messages(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Answer a conversation, as Anthropic's API does."""
    body = decode_messages(await read_body(request, max_bytes=services.settings.max_body_bytes))
    wanted, origins = messages_request(
        body,
        user_header=user_header(request.headers),
        deadline_ms=deadline_header(request.headers),
        betas=_betas(request),
    )
    try:
        prepared = await prepare(request, caller, wanted, services)
    except (ApiError, InvalidRequest) as fault:
        raise as_sent(fault, origins) from None

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        return message(reply, fallback_model=body.model, latency_ms=latency_ms)

    stream = MessageStream(prepared.request_id, model=body.model) if wanted.stream else None
    response = await answer(request, prepared, services, render, stream=stream)
    response.headers["request-id"] = prepared.request_id  # where Anthropic's SDKs look for it
    return response


def _betas(request: Request) -> tuple[str, ...]:
    """Return the names in the header `anthropic-beta`; the request's rules check them."""
    given = ",".join(request.headers.getlist("anthropic-beta"))
    return tuple(name.strip() for name in given.split(",") if name.strip())

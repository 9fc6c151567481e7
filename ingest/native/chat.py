"""`POST /v1/chat`: the native chat route, as JSON or as a stream of tokens."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.errors import is_blocked_input
from ingest.native.answers import ChatStream, chat_answer
from ingest.native.schema import ChatBody, native_request
from ingest.openapi import ASKING, body_of
from ingest.services import ServicesDep
from ingest.submit.body import decode_body, read_body
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.events import Reply
from streams.request_rules.sent_requests import HINTS

router = APIRouter(tags=["chat"])


@router.post("/v1/chat", openapi_extra=body_of(ChatBody), responses=ASKING)
async def chat(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Answer a query (with a prompt template) or a conversation."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    wanted = native_request(decode_body(data, ChatBody, hints=HINTS))
    prepared = await prepare(request, caller, wanted, services)
    stream = ChatStream(prepared.request_id) if wanted.stream else None
    return await answer(request, prepared, services, _render, stream=stream)


def _render(reply: Reply, latency_ms: float) -> dict[str, Any]:
    # On this route a blocked query is an answer, not an error: its clients read `blocked`.
    if not is_blocked_input(reply):
        raise_for(reply)
    return chat_answer(reply, latency_ms=latency_ms)

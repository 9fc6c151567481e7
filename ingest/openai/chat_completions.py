"""`POST /v1/chat/completions`: OpenAI's Chat Completions, for its official clients as they are."""

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.openai.chat_answers import CompletionStream, completion, with_flat_fields
from ingest.openai.chat_schema import CompletionBody, completion_request, decode_completion
from ingest.openapi import ASKING, body_of
from ingest.services import Services, ServicesDep
from ingest.submit.body import read_body
from ingest.submit.headers import deadline_header, user_header
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.errors import InvalidRequest
from streams.events import Reply
from streams.serving.api_keys import Caller

router = APIRouter(tags=["OpenAI-compatible"])

_BODY = body_of(CompletionBody)
#: The roles that may begin a conversation. `developer` is OpenAI's new name for `system`.
_FIRST_ROLES = ("system", "developer", "user")


@router.post("/v1/chat/completions", openapi_extra=_BODY, responses=ASKING)
async def chat_completions(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Answer a conversation, as OpenAI's API does."""
    return await _complete(request, caller, services)


@router.post("/api/v1/chat/completions", openapi_extra=_BODY, responses=ASKING)
async def course_completions(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Do the same, and add the flat fields `content` and `latency_ms`."""
    return await _complete(request, caller, services, course=True)


@router.post("/api/v1/chat/completions/stream", openapi_extra=_BODY, responses=ASKING)
async def course_completions_stream(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Stream the answer, whatever the body says about `stream`."""
    return await _complete(request, caller, services, course=True, stream=True)


async def _complete(
    request: Request, caller: Caller, services: Services, *, course: bool = False, stream: bool = False
) -> Response:
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    sent = decode_completion(data, services.settings.extra_parameters)
    body = sent.body
    if course:
        _check_as_the_course_does(body)
    wanted = completion_request(
        sent,
        user_header=user_header(request.headers),
        stream=stream or bool(body.stream),
        deadline_ms=deadline_header(request.headers),
    )
    prepared = await prepare(request, caller, wanted, services)
    created = int(time.time())
    model = body.model or services.settings.default_model

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        rendered = completion(reply, created=created, fallback_model=model, latency_ms=latency_ms)
        return with_flat_fields(rendered, reply, latency_ms=latency_ms) if course else rendered

    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = CompletionStream(prepared.request_id, model=model, created=created, include_usage=include_usage)
    return await answer(request, prepared, services, render, stream=chunks if wanted.stream else None)


def _check_as_the_course_does(body: CompletionBody) -> None:
    """Check the rules of the `/api/v1` routes beyond OpenAI's, which come from the week-1 course."""
    if body.messages[0].role not in _FIRST_ROLES:
        raise InvalidRequest(
            f"the first message must be of the role system or user, not {body.messages[0].role}",
            param="messages[0].role",
        )
    for index, message in enumerate(body.messages):
        if not message.text and not message.tool_calls and message.role != "tool":
            where = f"messages[{index}].content"
            raise InvalidRequest(f"{where} must have at least one character", param=where)

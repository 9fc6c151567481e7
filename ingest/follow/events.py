"""`/v1/requests/{id}/events`: follows an answer, from its beginning or from where a stream broke.

`POST /v1/requests/{id}/stream-token` gives a browser a token for it.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep, ReaderDep
from ingest.errors import timed_out
from ingest.follow.answer_cursor import ResumePoint, parse_event_id
from ingest.follow.reply_hub import ReplyListener
from ingest.follow.sse import EventStreamResponse, stream_events
from ingest.follow.waiting import GRACE_S, POLL_S, polling, state_of
from ingest.native.answers import RequestEvents
from ingest.services import Services, ServicesDep
from streams.events import MAX_DEADLINE_MS
from streams.registry.registry import RequestState
from streams.serving.errors import invalid
from streams.serving.json_response import JsonResponse
from streams.serving.openapi import errors
from streams.topics import REPLIES

router = APIRouter(tags=["requests"])

#: How often the registry is asked for a reply that should pass this replica, in seconds: what was sent while
#: this process was starting did not.
_POLL_OWN_S = 5.0
_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": where,
        "schema": {"type": "string"},
        "description": "The `id` of the last event that came: the stream goes on with the next character",
    }
    for name, where in (("Last-Event-ID", "header"), ("last_event_id", "query"))
]


@router.get(
    "/v1/requests/{request_id}/events",
    status_code=200,
    response_class=EventStreamResponse,
    responses=errors(404),
    openapi_extra={"parameters": _PARAMETERS},
)
async def follow(request: Request, request_id: str, caller: ReaderDep, services: ServicesDep) -> Response:
    """Stream the answer as events `delta`, `reset`, `error`, `stage` and `done`; a finished one at once.

    Every event with text has an `id`. Send the last one back as `Last-Event-ID` (`EventSource` does so by
    itself) or as the parameter `last_event_id`, to any replica, and the stream goes on with the next
    character. If the text so far is not the beginning of the answer, a `reset` comes first, and then the
    answer from its start.
    """
    resume_at = _resume_point(request)
    state = await state_of(request_id, caller, services)
    request.state.request_id = request_id
    listener = services.hub.listen(request_id)
    if state.reply is not None:
        listener.resolve(state.reply)
    else:
        listener.enter(services.history.following(request_id, state, complete=listener.complete))
    return EventStreamResponse(_events(listener, request_id, state, services, resume_at), listener)


@router.post("/v1/requests/{request_id}/stream-token", responses=errors(404))
async def give_stream_token(
    request: Request, request_id: str, caller: CallerDep, services: ServicesDep
) -> Response:
    """Return a token that reads this request's events for a while, and nothing else, without a key.

    It goes into the parameter `token` of `events_url`, because `EventSource` cannot send headers. It is
    checked when a stream is opened; an open stream goes on to its end.
    """
    await state_of(request_id, caller, services)
    request.state.request_id = request_id
    access = stream_access(request_id, caller.tenant, services)
    return JsonResponse({"request_id": request_id, **access}, headers={"Cache-Control": "no-store"})


def stream_access(request_id: str, tenant: str, services: Services) -> dict[str, Any]:
    """Return where the events of a request of this tenant are, and a new token for them."""
    given = services.stream_tokens.give(request_id, tenant)
    return {
        "events_url": f"/v1/requests/{request_id}/events",
        "stream_token": given.token,
        "stream_token_expires_at": given.expires_at,
    }


def _resume_point(request: Request) -> ResumePoint | None:
    # The header first: a browser sends it when it connects again to an address that still has the parameter.
    for name, sent in (
        ("Last-Event-ID", request.headers.get("last-event-id")),
        ("last_event_id", request.query_params.get("last_event_id")),
    ):
        if sent:
            try:
                return parse_event_id(sent)
            except ValueError as fault:
                raise invalid(
                    f"{name} is {fault}: send the id of the last event as it came, or none to begin anew",
                    code="invalid_event_id",
                    param=name,
                ) from fault
    return None


async def _events(
    listener: ReplyListener,
    request_id: str,
    state: RequestState,
    services: Services,
    resume_at: ResumePoint | None,
) -> AsyncGenerator[bytes, None]:
    reply_to = state.reply_to
    passes_here = (
        reply_to is not None
        and reply_to.topic == REPLIES.name
        and reply_to.partition in services.reply_loop.partitions
    )
    events = stream_events(
        listener,
        RequestEvents(request_id),
        give_up_at=time.monotonic() + MAX_DEADLINE_MS / 1000 + GRACE_S,
        on_timeout=lambda: timed_out(request_id, MAX_DEADLINE_MS),
        resume_at=resume_at,
    )
    every_s = _POLL_OWN_S if passes_here else POLL_S
    async with aclosing(events), polling(listener, request_id, services.registry, every_s=every_s):
        async for event in events:
            yield event

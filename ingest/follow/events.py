"""`GET /v1/requests/{id}/events`: follow an answer, from its beginning or from where a stream was dropped."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import ReaderDep
from ingest.errors import invalid, timed_out
from ingest.follow.lookup import state_of
from ingest.follow.replies import Listener
from ingest.follow.resume import Place, parse_event_id
from ingest.follow.sse import EventStream, frames
from ingest.follow.waiting import GRACE_S, stored_reply
from ingest.native.answers import RequestEvents
from ingest.services import Services, ServicesDep
from streams.events import MAX_DEADLINE_MS
from streams.registry.registry import RequestState
from streams.topics import REPLIES

router = APIRouter(tags=["requests"])

#: Replies to requests that came in elsewhere do not pass this replica: the registry is asked.
_POLL_S = 1.0
#: Where they do pass, it is asked all the same, for what was sent while this process was starting.
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
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events"},
    400: {"description": "The event id is none of ours"},
    404: {"description": "There is no such request, or it is not yours"},
}


@router.get(
    "/v1/requests/{request_id}/events",
    status_code=200,
    response_class=EventStream,
    responses=_RESPONSES,
    openapi_extra={"parameters": _PARAMETERS},
)
async def follow(request: Request, request_id: str, caller: ReaderDep, services: ServicesDep) -> Response:
    """Stream the answer as events `delta`, `reset`, `error`, `stage` and `done`; a finished one at once.

    Every event with text has an `id`. Send the last one back as `Last-Event-ID` (`EventSource` does so by
    itself) or as the parameter `last_event_id`, to any replica, and the stream goes on with the next
    character. Where the text so far is not the beginning of the answer, a `reset` comes first, and then the
    answer from its start.
    """
    place = _place(request)
    state = await state_of(request_id, caller, services)
    request.state.request_id = request_id
    listener = services.hub.listen(request_id)
    if state.reply is not None:
        listener.settle(state.reply)
    else:
        listener.keep(
            services.history.following(
                request_id, state.reply_to, since=state.registered_at, whole=listener.whole
            )
        )
    return EventStream(_events(listener, request_id, state, services, place), listener)


def _place(request: Request) -> Place | None:
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
    listener: Listener, request_id: str, state: RequestState, services: Services, place: Place | None
) -> AsyncGenerator[bytes, None]:
    watcher = asyncio.create_task(_watch_registry(listener, request_id, state, services))
    events = frames(
        listener,
        RequestEvents(request_id),
        give_up_at=time.monotonic() + MAX_DEADLINE_MS / 1000 + GRACE_S,
        on_timeout=lambda: timed_out(request_id, MAX_DEADLINE_MS),
        resume_at=place,
    )
    try:
        async with aclosing(events):
            async for frame in events:
                yield frame
    finally:
        watcher.cancel()


async def _watch_registry(
    listener: Listener, request_id: str, state: RequestState, services: Services
) -> None:
    reply_to = state.reply_to
    own = (
        reply_to is not None
        and reply_to.topic == REPLIES.name
        and reply_to.partition in services.reply_loop.partitions
    )
    while listener.reply is None:
        reply = await stored_reply(services.registry, request_id)
        if reply is not None:
            listener.settle(reply)
            return
        await asyncio.sleep(_POLL_OWN_S if own else _POLL_S)

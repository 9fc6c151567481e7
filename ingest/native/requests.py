"""`/v1/requests`: submit now; fetch, follow or cancel later.

`/v1/requests/{id}/events` streams an answer, from its beginning or from where a stream broke.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingest.auth import FollowerDep, ReaderDep, SenderDep
from ingest.errors import conflict, timed_out
from ingest.follow.answer_cursor import ResumePoint, parse_event_id
from ingest.follow.sse import EventStreamResponse, stream_events
from ingest.native.chat import RequestEvents
from ingest.native.schema import SubmitBody, native_request
from ingest.openapi import body_of
from ingest.services import Services, ServicesDep
from ingest.submit.http_message import decode_body, read_body
from ingest.submit.request_reply import (
    GRACE_S,
    POLL_S,
    check_request_id,
    long_poll,
    no_such_request,
    polling,
    prepare,
    state_of,
)
from streams.events import MAX_DEADLINE_MS, Status
from streams.registry.entries import BY_SENDER, reply_view
from streams.registry.registry import CancelAnswer, SubmissionState
from streams.request_rules.sent_requests import HINTS
from streams.serving.fastapi_errors import errors
from streams.serving.responses import REPLAYED, JsonResponse, invalid
from streams.topics import REPLIES

router = APIRouter(tags=["requests"])

#: The longest `wait_s`: proxies cut connections that are silent for a minute.
MAX_WAIT_S = 55.0
WaitS = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT_S,
        allow_inf_nan=False,
        description="how long to wait for the reply if it is not there yet, in seconds",
    ),
]
_SUBMIT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "It was answered before: its reply"},
    **errors(404, 409, 429),
}
#: How often the registry is asked for a reply that should pass this replica, in seconds: what was sent while
#: this process was starting did not.
_POLL_OWN_S = 5.0
_RESUME_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": where,
        "schema": {"type": "string"},
        "description": "The `id` of the last event that came: the stream goes on with the next character",
    }
    for name, where in (("Last-Event-ID", "header"), ("last_event_id", "query"))
]
_CANCEL_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "It was cancelled before: its reply, with what was spent"},
    202: {"description": "It is being cancelled; `GET` has the reply once the pipeline has ended it"},
    **errors(404, 409),
}


@router.post("/v1/requests", status_code=202, openapi_extra=body_of(SubmitBody), responses=_SUBMIT_RESPONSES)
async def submit(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Accept a request and answer at once; one that was answered before gets its reply."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    wanted = native_request(decode_body(data, SubmitBody, hints=HINTS))
    prepared = await prepare(request, caller, wanted, services)
    admission = await services.limits.admit(request, prepared)
    if admission.holds:  # a reply that does not pass here leaves it to its deadline
        services.hub.track(prepared.request_id).on_reply = admission.end
    try:
        submitted = await services.submissions.submit(prepared)
    except BaseException:
        admission.end()
        raise
    if submitted.reply is not None:
        return JsonResponse(reply_view(submitted.reply), headers=dict(REPLAYED))
    request_id = prepared.request_id
    path = f"/v1/requests/{request_id}"
    status = "running" if submitted.state is SubmissionState.JOINED else "pending"
    access = _stream_access(request_id, caller.tenant, services)
    body = {"request_id": request_id, "status": status, "url": path, **access}
    headers = {"Location": path, "Cache-Control": "no-store"}
    return JsonResponse(body, status_code=202, headers=headers)


@router.get("/v1/requests/{request_id}", responses=errors(404))
async def fetch(
    request: Request, request_id: str, caller: ReaderDep, services: ServicesDep, wait_s: WaitS = 0.0
) -> Response:
    """Return the reply, or how far the request is. `wait_s` waits for a reply that is not there yet."""
    state = await state_of(request_id, caller, services.registry)
    request.state.request_id = request_id
    if state.reply is None and wait_s:
        await long_poll(request, request_id, wait_s, services.hub, services.registry)
        state = await state_of(request_id, caller, services.registry)
    if state.reply is not None:
        return JsonResponse(reply_view(state.reply))
    status = "cancelling" if state.cancelled else state.state
    return JsonResponse({"request_id": request_id, "status": status, "registered_at": state.registered_at})


@router.get(
    "/v1/requests/{request_id}/events",
    status_code=200,
    response_class=EventStreamResponse,
    responses=errors(404),
    openapi_extra={"parameters": _RESUME_PARAMETERS},
)
async def follow(request: Request, request_id: str, caller: FollowerDep, services: ServicesDep) -> Response:
    """Stream the answer as events `delta`, `reset`, `error`, `stage` and `done`; a finished one at once.

    Every event with text has an `id`. Send the last one back as `Last-Event-ID` (`EventSource` does so by
    itself) or as the parameter `last_event_id`, to any replica, and the stream goes on with the next
    character. If the text so far is not the beginning of the answer, a `reset` comes first, and then the
    answer from its start.
    """
    resume_at = _resume_point(request)
    state = await state_of(request_id, caller, services.registry)
    request.state.request_id = request_id
    listener = services.hub.listen(request_id)
    if state.reply is not None:
        listener.resolve(state.reply)
    else:
        listener.enter_context(
            services.history.following(request_id, state, complete=listener.answer.complete)
        )
    reply_to = state.reply_to
    passes_here = (
        reply_to is not None
        and reply_to.topic == REPLIES.name
        and reply_to.partition in services.reply_loop.partitions
    )

    async def polled() -> AsyncGenerator[bytes, None]:
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

    return EventStreamResponse(polled(), listener)


@router.post("/v1/requests/{request_id}/stream-token", responses=errors(404))
async def give_stream_token(
    request: Request, request_id: str, caller: ReaderDep, services: ServicesDep
) -> Response:
    """Return a token that reads this request's events for a while, and nothing else, without a key.

    It goes into the parameter `token` of `events_url`, because `EventSource` cannot send headers. It is
    checked when a stream is opened; an open stream goes on to its end.
    """
    await state_of(request_id, caller, services.registry)
    request.state.request_id = request_id
    access = _stream_access(request_id, caller.tenant, services)
    return JsonResponse({"request_id": request_id, **access}, headers={"Cache-Control": "no-store"})


@router.delete("/v1/requests/{request_id}", status_code=202, responses=_CANCEL_RESPONSES)
async def cancel(request: Request, request_id: str, caller: SenderDep, services: ServicesDep) -> Response:
    """Cancel a request, whoever waits for it.

    Work that has not begun is not begun. A provider call that runs is stopped within about a second, and what
    it has spent is booked. The request then ends with the status `cancelled`. If its answer is there first,
    it ends answered. Cancelling a request twice is no error.
    """
    check_request_id(request_id)
    answer = await services.registry.cancel(request_id, tenant=caller.tenant, reason=BY_SENDER)
    if answer is CancelAnswer.UNKNOWN:
        raise no_such_request()
    request.state.request_id = request_id
    if answer is not CancelAnswer.SETTLED:
        return JsonResponse({"request_id": request_id, "status": "cancelling"}, status_code=202)
    state = await state_of(request_id, caller, services.registry)
    if state.reply is not None and state.reply.status is Status.CANCELLED:
        return JsonResponse(reply_view(state.reply))
    ended = state.reply.status.value if state.reply else "settled"
    raise conflict(
        f"the request has ended already, with the status {ended}: fetch its reply with GET",
        code="request_finished",
        param="request_id",
    )


def _stream_access(request_id: str, tenant: str, services: Services) -> dict[str, Any]:
    """Return where the events of a request of this tenant are, and a new token for them."""
    given = services.stream_tokens.give(request_id, tenant)
    return {
        "events_url": f"/v1/requests/{request_id}/events",
        "stream_token": given.token,
        "stream_token_expires_at": given.expires_at,
    }


def _resume_point(request: Request) -> ResumePoint | None:
    # The header first: a browser sends it when it connects again to an address that still has the parameter.
    name, sent = "Last-Event-ID", request.headers.get("last-event-id")
    if not sent:
        name, sent = "last_event_id", request.query_params.get("last_event_id")
    if not sent:
        return None
    try:
        return parse_event_id(sent)
    except ValueError as fault:
        words = f"{name} is {fault}: send the id of the last event as it came, or none to begin anew"
        raise invalid(words, code="invalid_event_id", param=name) from fault

"""`/v1/requests`: submit now, fetch, follow or cancel later."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.api.asking import ask_of
from ingest.auth import CallerDep
from ingest.body import decode_body, read_body
from ingest.chat_shape import RequestEvents, reply_view
from ingest.errors import ApiError, conflict, not_found, outage, timed_out
from ingest.json_response import JsonResponse
from ingest.keys import Caller
from ingest.openapi import body_of
from ingest.ports import Registry
from ingest.replies import Listener
from ingest.schemas import ChatBody, native_request
from ingest.services import Services, ServicesDep
from ingest.sse import EventStream, frames
from ingest.submission import Submitted
from ingest.waiting import GRACE_S, stored_reply
from streams.cancellation import BY_SENDER
from streams.errors import StoreUnavailable
from streams.events import MAX_DEADLINE_MS, Status
from streams.registry import CancelAnswer, RequestState, Standing

router = APIRouter(tags=["requests"])

#: Replies to requests that came in elsewhere do not pass this replica: the registry is asked.
_POLL_S = 1.0
_CANCEL_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "It was cancelled before: its reply, with what was spent"},
    202: {"description": "It is being cancelled; `GET` has the reply once the pipeline has ended it"},
    404: {"description": "There is no such request, or it is not yours"},
    409: {"description": "It has ended otherwise: `GET` has the reply"},
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@router.post("/v1/requests", status_code=202, openapi_extra=body_of(ChatBody))
async def submit(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Accept a request and answer at once; one that was answered before gets its reply."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    ask = ask_of(request, caller, native_request(decode_body(data, ChatBody)), services)
    submitted = await services.submissions.submit(ask)
    if submitted.reply is not None:
        return JsonResponse(reply_view(submitted.reply))
    return _accepted(submitted)


@router.get("/v1/requests/{request_id}")
async def fetch(request: Request, request_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return the reply, or how far the request is."""
    state = await _state_of(request_id, caller, services)
    request.state.request_id = request_id
    if state.reply is not None:
        return JsonResponse(reply_view(state.reply))
    status = "cancelling" if state.cancelled else state.state
    return JsonResponse({"request_id": request_id, "status": status, "registered_at": state.registered_at})


@router.delete("/v1/requests/{request_id}", status_code=202, responses=_CANCEL_RESPONSES)
async def cancel(request: Request, request_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Cancel a request, whoever waits for it.

    Work that has not begun is not begun. A call to a provider that runs is stopped within about a second, and
    what it has spent is booked. The request then ends with the status `cancelled`. Where its answer is there
    first, it ends answered: `GET` tells. Cancelling what is being cancelled, or is cancelled, is no error.
    """
    try:
        known = bool(_REQUEST_ID.fullmatch(request_id))
        answer = (
            await services.registry.cancel(request_id, tenant=caller.tenant, reason=BY_SENDER)
            if known
            else CancelAnswer.UNKNOWN
        )
    except StoreUnavailable as fault:
        raise outage(fault, "the request registry") from fault
    if answer is CancelAnswer.UNKNOWN:
        raise _no_such_request()
    request.state.request_id = request_id
    if answer is CancelAnswer.SETTLED:
        return await _cancelled_before(request_id, caller, services)
    return JsonResponse({"request_id": request_id, "status": "cancelling"}, status_code=202)


async def _cancelled_before(request_id: str, caller: Caller, services: Services) -> Response:
    state = await _state_of(request_id, caller, services)
    if state.reply is not None and state.reply.status is Status.CANCELLED:
        return JsonResponse(reply_view(state.reply))
    ended = state.reply.status.value if state.reply else "settled"
    raise conflict(
        f"the request has ended already, with the status {ended}: fetch its reply with GET",
        code="request_finished",
        param="request_id",
    )


@router.get("/v1/requests/{request_id}/events")
async def follow(request: Request, request_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Stream the answer as events `delta`, `reset`, `error` and `done`; a finished one at once."""
    state = await _state_of(request_id, caller, services)
    request.state.request_id = request_id
    listener = services.hub.listen(request_id)
    if state.reply is not None:
        listener.settle(state.reply)
    return EventStream(_events(listener, request_id, services.registry), listener)


async def _events(listener: Listener, request_id: str, registry: Registry) -> AsyncGenerator[bytes, None]:
    watcher = asyncio.create_task(_watch_registry(listener, request_id, registry))
    events = frames(
        listener,
        RequestEvents(request_id),
        give_up_at=time.monotonic() + MAX_DEADLINE_MS / 1000 + GRACE_S,
        on_timeout=lambda: timed_out(request_id, MAX_DEADLINE_MS),
    )
    try:
        async with aclosing(events):
            async for frame in events:
                yield frame
    finally:
        watcher.cancel()


async def _watch_registry(listener: Listener, request_id: str, registry: Registry) -> None:
    while listener.reply is None:
        reply = await stored_reply(registry, request_id)
        if reply is not None:
            listener.settle(reply)
            return
        await asyncio.sleep(_POLL_S)


async def _state_of(request_id: str, caller: Caller, services: Services) -> RequestState:
    try:
        known = bool(_REQUEST_ID.fullmatch(request_id))
        state = await services.registry.find(request_id) if known else None
    except StoreUnavailable as fault:
        raise outage(fault, "the request registry") from fault
    if state is None or state.tenant != caller.tenant:
        # The same words for both: whether another tenant has such a request is not the caller's business.
        raise _no_such_request()
    return state


def _no_such_request() -> ApiError:
    return not_found(
        "no such request: it was never accepted, or its reply is no longer kept",
        code="request_not_found",
        param="request_id",
    )


def _accepted(submitted: Submitted) -> Response:
    request_id = submitted.ask.request_id
    path = f"/v1/requests/{request_id}"
    status = "running" if submitted.standing is Standing.JOINED else "pending"
    body = {"request_id": request_id, "status": status, "url": path, "events_url": f"{path}/events"}
    return JsonResponse(body, status_code=202, headers={"Location": path})

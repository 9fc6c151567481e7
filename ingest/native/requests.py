"""`/v1/requests`: submit now, fetch or cancel later. `ingest.follow.events` follows one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.errors import conflict
from ingest.follow.events import stream_access
from ingest.follow.waiting import check_request_id, long_poll, no_such_request, state_of
from ingest.native.schema import SubmitBody, native_request
from ingest.openapi import body_of
from ingest.services import Services, ServicesDep
from ingest.submit.asking import ask_of
from ingest.submit.body import decode_body, read_body
from ingest.submit.submission import Submitted
from streams.events import Status
from streams.registry.cancellation import BY_SENDER
from streams.registry.registry import CancelAnswer, SubmissionState
from streams.registry.reply_view import reply_view
from streams.request_rules.sent_requests import HINTS
from streams.serving.errors import REPLAYED
from streams.serving.json_response import JsonResponse
from streams.serving.keys import Caller
from streams.serving.openapi import errors

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
    **errors(404, 409),
}
_CANCEL_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "It was cancelled before: its reply, with what was spent"},
    202: {"description": "It is being cancelled; `GET` has the reply once the pipeline has ended it"},
    **errors(404, 409),
}


@router.post("/v1/requests", status_code=202, openapi_extra=body_of(SubmitBody), responses=_SUBMIT_RESPONSES)
async def submit(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Accept a request and answer at once; one that was answered before gets its reply."""
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    body = native_request(decode_body(data, SubmitBody, hints=HINTS))
    ask = await ask_of(request, caller, body, services)
    submitted = await services.submissions.submit(ask)
    if submitted.reply is not None:
        return JsonResponse(reply_view(submitted.reply), headers=dict(REPLAYED))
    return _accepted(submitted, services)


@router.get("/v1/requests/{request_id}", responses=errors(404))
async def fetch(
    request: Request, request_id: str, caller: CallerDep, services: ServicesDep, wait_s: WaitS = 0.0
) -> Response:
    """Return the reply, or how far the request is. `wait_s` waits for a reply that is not there yet."""
    state = await state_of(request_id, caller, services)
    request.state.request_id = request_id
    if state.reply is None and wait_s:
        await long_poll(request, request_id, wait_s, services.hub, services.registry)
        state = await state_of(request_id, caller, services)
    if state.reply is not None:
        return JsonResponse(reply_view(state.reply))
    status = "cancelling" if state.cancelled else state.state
    return JsonResponse({"request_id": request_id, "status": status, "registered_at": state.registered_at})


@router.delete("/v1/requests/{request_id}", status_code=202, responses=_CANCEL_RESPONSES)
async def cancel(request: Request, request_id: str, caller: CallerDep, services: ServicesDep) -> Response:
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
    if answer is CancelAnswer.SETTLED:
        return await _cancelled_before(request_id, caller, services)
    return JsonResponse({"request_id": request_id, "status": "cancelling"}, status_code=202)


async def _cancelled_before(request_id: str, caller: Caller, services: Services) -> Response:
    state = await state_of(request_id, caller, services)
    if state.reply is not None and state.reply.status is Status.CANCELLED:
        return JsonResponse(reply_view(state.reply))
    ended = state.reply.status.value if state.reply else "settled"
    raise conflict(
        f"the request has ended already, with the status {ended}: fetch its reply with GET",
        code="request_finished",
        param="request_id",
    )


def _accepted(submitted: Submitted, services: Services) -> Response:
    request_id = submitted.ask.request_id
    path = f"/v1/requests/{request_id}"
    status = "running" if submitted.state is SubmissionState.JOINED else "pending"
    access = stream_access(request_id, submitted.ask.caller.tenant, services)
    body = {"request_id": request_id, "status": status, "url": path, **access}
    headers = {"Location": path, "Cache-Control": "no-store"}
    return JsonResponse(body, status_code=202, headers=headers)

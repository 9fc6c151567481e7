"""The path that every route shares: from a body to a submission, and from a reply to a response.

A route brings three things: the event that its body stands for, a function that renders a reply (`Render`),
and, if it streams, a `StreamFormat`.

    prepared = await prepare(request, caller, wanted, services)
    return await answer(request, prepared, services, render, stream=ChatStream(prepared.request_id))
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import Response

from ingest.errors import api_error, error_of, is_charged, timed_out
from ingest.follow.sse import EventStreamResponse, StreamFormat, stream_events
from ingest.follow.waiting import GRACE_S, find_state, wait_for_first_text, wait_for_reply
from ingest.services import Services
from ingest.submit.http_message import answer_headers, cache_header, on_disconnect_header, traceparent_of
from ingest.submit.identification import CallState, identify
from ingest.submit.submission import PreparedRequest, check_request, with_second_try
from streams.events import ChatRequested, Reply, Requested
from streams.registry.registry import SubmissionState
from streams.serving.api_keys import Caller
from streams.serving.errors import REPLAYED
from streams.serving.middleware import CLIENT_CLOSED_REQUEST
from streams.serving.responses import JsonResponse

#: Renders a reply, given the latency in ms, as the JSON body of a route; raises the error of a failed one.
Render = Callable[[Reply, float], dict[str, Any]]


async def prepare(request: Request, caller: Caller, wanted: Requested, services: Services) -> PreparedRequest:
    """Return the checked request with its id; the response's `X-Request-ID` becomes the same.

    A request for embeddings has been checked by its route, in a thread.

    Raises `InvalidRequest` where the body cannot be served; `ApiError`: 400, a header is wrong; 409, the key
    was used for another body; `StoreUnavailable`.
    """
    settings = services.settings
    if isinstance(wanted, ChatRequested):
        if wanted.headrace_cache is None:
            wanted = msgspec.structs.replace(wanted, headrace_cache=cache_header(request.headers))
        check_request(wanted, settings)
    deadline_ms = wanted.deadline_ms or settings.default_deadline_ms
    on_disconnect = wanted.on_disconnect or on_disconnect_header(request.headers) or settings.on_disconnect
    request_id, body, call = await with_second_try(
        lambda: identify(
            request.headers,
            wanted,
            tenant=caller.tenant,
            deadline_ms=deadline_ms,
            runs=services.runs,
            calls=services.client_retries,
        )
    )
    request.state.request_id = request_id
    return PreparedRequest(
        request=wanted,
        caller=caller,
        request_id=request_id,
        body=body,
        call=call,
        deadline_ms=deadline_ms,
        traceparent=traceparent_of(request.headers.get("traceparent")),
        on_disconnect=on_disconnect,
    )


async def answer(
    request: Request,
    prepared: PreparedRequest,
    services: Services,
    render: Render,
    *,
    stream: StreamFormat | None = None,
) -> Response:
    """Submit a request; return the response with its answer: JSON, or a stream if a format is given.

    Of a stream, a failure before its first text is answered as JSON, with its real status.
    """
    started = time.monotonic()
    give_up_at = started + prepared.deadline_ms / 1000 + GRACE_S

    def rendered(reply: Reply) -> Response:
        latency_ms = round((time.monotonic() - started) * 1000, 2)
        return JsonResponse(render(reply, latency_ms), headers=answer_headers(reply))

    with services.client_retries.attending(prepared.call):
        submitted, listener = await services.submissions.submit_and_listen(prepared)
        with ExitStack() as closing:
            closing.enter_context(listener)
            if stream is None:
                reply = await wait_for_reply(listener, request, prepared, give_up_at, services.registry)
                return _client_left(prepared, services) if reply is None else rendered(reply)
            if submitted.state is SubmissionState.JOINED:
                # The deltas that were written before this client joined, perhaps for another replica.
                state = await find_state(services.registry, prepared.request_id)
                if state is not None:
                    missed = services.history.following(
                        prepared.request_id, state, complete=listener.complete
                    )
                    listener.enter_context(missed)
            if not await wait_for_first_text(listener, request, give_up_at):
                return _client_left(prepared, services)
            if listener.reply is not None and error_of(listener.reply) is not None:
                return rendered(listener.reply)
            closing.pop_all()  # the response closes the listener
        events = stream_events(
            listener,
            stream,
            give_up_at=give_up_at,
            on_timeout=lambda: timed_out(prepared.request_id, prepared.deadline_ms),
        )
        headers = answer_headers(listener.reply, listener.cache_kind)
        return EventStreamResponse(
            events,
            listener,
            headers=headers | (REPLAYED if submitted.is_repeat else {}),
            on_leave=lambda: services.disconnects.client_left(prepared),
        )


def _client_left(prepared: PreparedRequest, services: Services) -> Response:
    """Note that nobody waits any more; an SDK may come back for the answer."""
    if prepared.call is not None:
        prepared.call.state = CallState.LEFT
    services.disconnects.client_left(prepared, may_come_back=prepared.call is not None)
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def raise_for(reply: Reply) -> None:
    """Raise the error of a reply without an answer, with the status that belongs to it."""
    error = error_of(reply)
    if error is not None:
        raise api_error(error, charged=is_charged(reply), repeat=reply.repeat)

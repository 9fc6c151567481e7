"""The path that every route shares: from a body to a submission, and from a reply to a response.

A route brings three things: the event that its body stands for, a function that renders a reply (`Render`),
and, if it streams, a `StreamFormat`.

    ask = await ask_of(request, caller, wanted, services)
    return await answer(request, ask, services, render, stream=ChatStream(ask.request_id))
"""

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import Response

from ingest.errors import timed_out
from ingest.follow.reply_hub import ReplyListener
from ingest.follow.sse import EventStreamResponse, StreamFormat, stream_events
from ingest.follow.waiting import Stopwatch, find_state, wait_for_first_text, wait_for_reply
from ingest.outcomes import api_error, error_of, is_charged
from ingest.services import Services
from ingest.submit.client_retries import CallState
from ingest.submit.headers import answer_headers, cache_header, on_disconnect_header, traceparent_of
from ingest.submit.submission import Ask, check_request, with_second_try
from streams.events import ChatRequested, Reply, Requested
from streams.registry.registry import SubmissionState
from streams.serving.errors import REPLAYED
from streams.serving.json_response import JsonResponse
from streams.serving.keys import Caller

_CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left; only the access log shows it

#: Renders a reply as the JSON body of a route, given the latency in ms. It raises `ApiError` for a failed
#: one.
Render = Callable[[Reply, float], dict[str, Any]]


async def ask_of(request: Request, caller: Caller, wanted: Requested, services: Services) -> Ask:
    """Return the checked request with its id; the response's `X-Request-ID` becomes the same.

    A request for embeddings has been checked by its route, in a thread.

    Raises:
        InvalidRequest: the body cannot be served.
        ApiError: 400, a header is wrong; 409, the key was used for another body.
        StoreUnavailable: Redis does not answer.
    """
    settings = services.settings
    if isinstance(wanted, ChatRequested):
        if wanted.headrace_cache is None:
            wanted = msgspec.structs.replace(wanted, headrace_cache=cache_header(request.headers))
        check_request(wanted, settings)
    deadline_ms = wanted.deadline_ms or settings.default_deadline_ms
    on_disconnect = wanted.on_disconnect or on_disconnect_header(request.headers) or settings.on_disconnect
    found = await with_second_try(
        lambda: services.identification.identify(
            request.headers, wanted, tenant=caller.tenant, deadline_ms=deadline_ms
        )
    )
    request.state.request_id = found.request_id
    return Ask(
        request=wanted,
        caller=caller,
        request_id=found.request_id,
        body=found.body,
        call=found.call,
        deadline_ms=deadline_ms,
        traceparent=traceparent_of(request.headers.get("traceparent")),
        on_disconnect=on_disconnect,
    )


async def answer(
    request: Request, ask: Ask, services: Services, render: Render, *, stream: StreamFormat | None = None
) -> Response:
    """Submit a request; return the response with its answer: JSON, or a stream if a format is given.

    Of a stream, a failure before its first text is answered as JSON, with its real status.
    """
    with services.client_retries.attending(ask.call):
        if stream is None:
            return await _answer_json(request, ask, services, render)
        return await _answer_stream(request, ask, services, render, stream)


async def _answer_json(request: Request, ask: Ask, services: Services, render: Render) -> Response:
    watch = Stopwatch.start(ask.deadline_ms)
    _, listener = await services.submissions.submit_and_listen(ask)
    with listener:
        reply = await wait_for_reply(listener, request, ask, watch, services.registry)
    return _client_left(ask, services) if reply is None else _rendered(reply, render, watch)


async def _answer_stream(
    request: Request, ask: Ask, services: Services, render: Render, stream: StreamFormat
) -> Response:
    watch = Stopwatch.start(ask.deadline_ms)
    submitted, listener = await services.submissions.submit_and_listen(ask)
    try:
        if submitted.state is SubmissionState.JOINED:
            await _replay_deltas(listener, ask.request_id, services)
        if not await wait_for_first_text(listener, request, watch):
            listener.close()
            return _client_left(ask, services)
        if listener.reply is not None and error_of(listener.reply) is not None:
            listener.close()
            return _rendered(listener.reply, render, watch)
    except BaseException:
        listener.close()
        raise
    events = stream_events(
        listener,
        stream,
        give_up_at=watch.give_up_at,
        on_timeout=lambda: timed_out(ask.request_id, ask.deadline_ms),
    )
    headers = answer_headers(listener.reply, listener.cache_kind)
    return EventStreamResponse(
        events,
        listener,
        headers=headers | (REPLAYED if submitted.is_repeat else {}),
        on_leave=lambda: services.abandonments.client_left(ask),
    )


def _rendered(reply: Reply, render: Render, watch: Stopwatch) -> Response:
    return JsonResponse(render(reply, watch.elapsed_ms), headers=answer_headers(reply))


def _client_left(ask: Ask, services: Services) -> Response:
    """Note that nobody waits any more; an SDK may come back for the answer."""
    if ask.call is not None:
        ask.call.state = CallState.LEFT
    services.abandonments.client_left(ask, may_come_back=ask.call is not None)
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _replay_deltas(listener: ReplyListener, request_id: str, services: Services) -> None:
    """Read the deltas that were written before the client joined, perhaps for another replica."""
    state = await find_state(services.registry, request_id)
    if state is not None:
        listener.enter(services.history.following(request_id, state, complete=listener.complete))


def raise_for(reply: Reply) -> None:
    """Raise the error of a reply without an answer, with the status that belongs to it."""
    error = error_of(reply)
    if error is not None:
        raise api_error(error, charged=is_charged(reply), repeat=reply.repeat)

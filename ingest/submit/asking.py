"""What the three ways of asking have in common: from headers to a submission, from a reply to a response."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from fastapi import Request
from starlette.responses import Response

from ingest.errors import REPLAYED, ApiError, invalid
from ingest.follow.abandonment import OnDisconnect
from ingest.follow.replies import Listener
from ingest.follow.sse import EventStream, StreamShape, frames
from ingest.follow.waiting import Stopwatch, timeout_of, wait_for_first_word, wait_for_reply
from ingest.outcomes import api_error, error_of, is_charged
from ingest.services import Services
from ingest.submit.caching import cache_header, cache_headers
from ingest.submit.checks import check_request
from ingest.submit.client_retries import CallState
from ingest.submit.headers import header_text
from ingest.submit.submission import Ask
from ingest.submit.tracing import traceparent_of
from streams.errors import StoreUnavailable
from streams.events import MAX_DEADLINE_MS, ChatRequested, Reply, Requested
from streams.registry.registry import Standing
from streams.request_rules.bounds import MAX_NAME_CHARS
from streams.request_rules.decode_faults import at_most
from streams.serving.json_response import JsonResponse
from streams.serving.keys import Caller

log = structlog.get_logger(__name__)

_CLIENT_CLOSED_REQUEST = 499  # nginx's word for it; nobody reads it but the log

Render = Callable[[Reply, float], dict[str, Any]]


async def ask_of(request: Request, caller: Caller, body: ChatRequested, services: Services) -> Ask:
    """Return the checked request with its id; the response's `X-Request-ID` becomes the same.

    Raises:
        ApiError: 400 or 404, the body cannot be served; and as `checked_ask`.
    """
    if body.headrace_cache is None:
        body = msgspec.structs.replace(body, headrace_cache=cache_header(request.headers))
    check_request(
        body,
        max_tokens_per_request=services.settings.max_tokens_per_request,
        extra_parameters=services.settings.extra_parameters,
    )
    return await checked_ask(request, caller, body, services)


async def checked_ask(request: Request, caller: Caller, body: Requested, services: Services) -> Ask:
    """Return a request that was checked, with its id; the response's `X-Request-ID` becomes the same.

    Raises:
        ApiError: 400, a header is wrong; 409 and 503, as `Identification.identify`.
    """
    deadline_ms = body.deadline_ms or services.settings.default_deadline_ms
    found = await services.identification.identify(
        request.headers, body, tenant=caller.tenant, deadline_ms=deadline_ms
    )
    ask = Ask(
        request=body,
        caller=caller,
        request_id=found.request_id,
        body=found.body,
        call=found.call,
        deadline_ms=deadline_ms,
        traceparent=traceparent_of(request.headers.get("traceparent")),
        on_disconnect=body.on_disconnect or _on_disconnect_header(request) or services.settings.on_disconnect,
    )
    request.state.request_id = ask.request_id
    return ask


async def answer_json(request: Request, ask: Ask, services: Services, render: Render) -> Response:
    """Submit, wait, and answer in one piece.

    Raises:
        ApiError: what `submit_and_listen` and `wait_for_reply` raise, or what the reply says.
    """
    watch = Stopwatch.start(ask.deadline_ms)
    with services.client_retries.attending(ask.call):
        _, listener = await services.submissions.submit_and_listen(ask)
        with listener:
            reply = await wait_for_reply(listener, request, ask, watch, services.registry)
        if reply is None:
            return _client_left(ask, services)
        return JsonResponse(render(reply, watch.elapsed_ms), headers=_marks_of(reply))


async def answer_stream(
    request: Request, ask: Ask, services: Services, shape: StreamShape, render: Render
) -> Response:
    """Submit, and answer as it comes.

    What is decided before the first word gets its real status, as JSON.

    Raises:
        ApiError: as `answer_json`.
    """
    watch = Stopwatch.start(ask.deadline_ms)
    with services.client_retries.attending(ask.call):
        submitted, listener = await services.submissions.submit_and_listen(ask)
        try:
            if submitted.standing is Standing.JOINED:
                await _hear_from_its_start(listener, ask.request_id, services)
            if not await wait_for_first_word(listener, request, watch):
                listener.close()
                return _client_left(ask, services)
            early = _early_response(listener, render, watch)
        except BaseException:
            listener.close()
            raise
        if early is not None:
            listener.close()
            return early
        events = frames(listener, shape, give_up_at=watch.give_up_at, on_timeout=lambda: timeout_of(ask))
        response = EventStream(
            events,
            listener,
            headers=cache_headers(listener.reply, listener.cache_kind),
            on_leave=lambda: services.abandonments.client_left(ask),
        )
        if submitted.is_repeat:
            response.headers.update(REPLAYED)
        return response


def _client_left(ask: Ask, services: Services) -> Response:
    """Note that nobody waits any more; the client's SDK may come back for the answer."""
    if ask.call is not None:
        ask.call.state = CallState.LEFT
    services.abandonments.client_left(ask, may_come_back=ask.call is not None)
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


def _marks_of(reply: Reply) -> dict[str, str]:
    """Return the headers that say where an answer comes from."""
    return cache_headers(reply) | (REPLAYED if reply.repeat else {})


async def _hear_from_its_start(listener: Listener, request_id: str, services: Services) -> None:
    """Have the deltas that were written before the client joined, perhaps for another replica."""
    try:
        state = await services.registry.find(request_id)
    except StoreUnavailable as fault:  # the reply brings the text
        log.warning("asking.registry_unavailable", request_id=request_id, error=str(fault))
        return
    if state is not None:
        listener.keep(
            services.history.following(
                request_id, state.reply_to, since=state.registered_at, whole=listener.whole
            )
        )


def raise_for(reply: Reply) -> None:
    """Raise the error that a reply without an answer stands for.

    Raises:
        ApiError: with the status that belongs to the error.
    """
    error = error_of(reply)
    if error is not None:
        raise api_error(error, charged=is_charged(reply), repeat=reply.repeat)


def _early_response(listener: Listener, render: Render, watch: Stopwatch) -> Response | None:
    reply = listener.reply
    if reply is None or error_of(reply) is None:
        return None
    return JsonResponse(render(reply, watch.elapsed_ms), headers=_marks_of(reply))


def deadline_header(request: Request) -> int | None:
    """Return the deadline from `X-Headrace-Deadline-Ms`, in milliseconds.

    Raises:
        ApiError: 400, it is not a number from 1 to `MAX_DEADLINE_MS`.
    """
    name = "X-Headrace-Deadline-Ms"
    text = request.headers.get(name)
    if text is None:
        return None
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    if not 1 <= value <= MAX_DEADLINE_MS:
        raise _bad_deadline(name)
    return value


def _on_disconnect_header(request: Request) -> OnDisconnect | None:
    name = "X-Headrace-On-Disconnect"
    match request.headers.get(name):
        case None:
            return None
        case "continue":
            return "continue"
        case "cancel":
            return "cancel"
        case _:
            raise invalid(f"{name} must be continue or cancel", param=name)


def user_header(request: Request) -> str | None:
    """Return the user id from `X-Headrace-User`.

    Raises:
        ApiError: 400, it is longer than 256 characters, or no text.
    """
    name = "X-Headrace-User"
    user = header_text(request.headers, name)
    if user and len(user) > MAX_NAME_CHARS:
        raise invalid(at_most(name, MAX_NAME_CHARS, len(user), " characters"), param=name)
    return user or None


def _bad_deadline(name: str) -> ApiError:
    return invalid(f"{name} must be a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}", param=name)

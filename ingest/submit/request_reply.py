"""The path that every route shares: from a body to a submission, and from a reply to a response.

Replies are waited for until they come, the client leaves, or the time is up.

A route brings three things: the event that its body stands for, a function that renders a reply (`Render`),
and, if it streams, a `StreamFormat`.

    prepared = await prepare(request, caller, wanted, services)
    return await answer(request, prepared, services, render, stream=ChatStream(prepared.request_id))
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec
import structlog
from fastapi import Request
from starlette.responses import Response

from ingest.errors import api_error, as_repeat, error_of, is_charged, timed_out
from ingest.follow.reply_hub import ReplyHub, ReplyListener
from ingest.follow.sse import EventStreamResponse, StreamFormat, stream_events
from ingest.services import Services
from ingest.submit.http_message import answer_headers, cache_header, on_disconnect_header, traceparent_of
from ingest.submit.identification import CallState, identify
from ingest.submit.submission import PreparedRequest, check_request, with_second_try
from streams.errors import StoreUnavailable
from streams.events import ChatRequested, Reply, Requested
from streams.registry.registry import RequestRegistry, RequestState, SubmissionState
from streams.serving.api_keys import Caller
from streams.serving.middleware import CLIENT_CLOSED_REQUEST
from streams.serving.responses import REPLAYED, ApiError, JsonResponse, not_found
from streams.tasks import cancel_and_wait, run_unless, until_disconnect

#: Renders a reply, given the latency in ms, as the JSON body of a route; raises the error of a failed one.
Render = Callable[[Reply, float], dict[str, Any]]

log = structlog.get_logger(__name__)

#: The pipeline itself ends a request at its deadline; its reply is given this long to arrive, in seconds.
GRACE_S = 2.0
#: How long a stream's status waits for the first text, in seconds; much longer, and proxies would give up.
FIRST_TEXT_S = 10.0
#: The reply to a request that came in elsewhere does not pass this replica: the registry is asked this often.
POLL_S = 1.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


async def prepare(request: Request, caller: Caller, wanted: Requested, services: Services) -> PreparedRequest:
    """Return the checked request with its id; the response's `X-Request-ID` becomes the same.

    A request for embeddings has been checked by its route, in a thread.

    Raises `InvalidRequest` where the body cannot be served; `ApiError`: 400, a header is wrong; 403, the key
    speaks for another user; 409, the `Idempotency-Key` was used for another body; `StoreUnavailable`.
    """
    settings = services.settings
    wanted = msgspec.structs.replace(wanted, user_id=caller.speaks_for(wanted.user_id))
    if isinstance(wanted, ChatRequested):
        if wanted.headrace_cache is None:
            wanted = msgspec.structs.replace(wanted, headrace_cache=cache_header(request.headers))
        check_request(wanted, settings, services.models.current)
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

    What it takes of its caller's limits is held until the listener is closed, however that comes about.
    Of a stream, a failure before its first text is answered as JSON, with its real status.
    """
    started = time.monotonic()
    give_up_at = started + prepared.deadline_ms / 1000 + GRACE_S

    def rendered(reply: Reply) -> Response:
        latency_ms = round((time.monotonic() - started) * 1000, 2)
        return JsonResponse(render(reply, latency_ms), headers=answer_headers(reply))

    with services.client_retries.attending(prepared.call):
        admission = await services.limits.admit(request, prepared)
        try:
            submitted, listener = await services.submissions.submit_and_listen(prepared)
        except BaseException:
            admission.end()
            raise
        listener.callback(lambda: admission.end(listener.reply))
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
                        prepared.request_id, state, complete=listener.answer.complete
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
        headers = answer_headers(listener.reply, listener.answer.cache_kind)
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


async def wait_for_reply(
    listener: ReplyListener,
    request: Request,
    prepared: PreparedRequest,
    give_up_at: float,
    registry: RequestRegistry,
) -> Reply | None:
    """Return the reply; None if the client left before; 504 at `give_up_at`, on the monotonic clock."""
    heard = listener.until(lambda: listener.reply is not None)
    try:
        async with asyncio.timeout(give_up_at - time.monotonic()):
            await run_unless(until_disconnect(request.receive), heard)
    except TimeoutError:
        # Its record may have passed this replica by.
        state = await find_state(registry, prepared.request_id)
        if state is None or state.reply is None:
            raise timed_out(prepared.request_id, prepared.deadline_ms) from None
        return as_repeat(state.reply)
    return listener.reply


async def wait_for_first_text(listener: ReplyListener, request: Request, give_up_at: float) -> bool:
    """Wait for text, or the reply, for at most `FIRST_TEXT_S`; return False if the client left before."""
    heard = listener.until(lambda: bool(listener.answer.so_far.text) or listener.reply is not None)
    try:
        async with asyncio.timeout(min(FIRST_TEXT_S, give_up_at - time.monotonic())):
            return await run_unless(until_disconnect(request.receive), heard) is not None
    except TimeoutError:
        return True


async def long_poll(
    request: Request, request_id: str, wait_s: float, hub: ReplyHub, registry: RequestRegistry
) -> None:
    """Wait until a request has its reply, or its client leaves, for `wait_s` at most; 503 as `listen`.

    A replica that is about to stop does not wait: the client asks again, and comes to another.
    """
    with hub.listen(request_id) as listener:
        heard = listener.until(lambda: listener.reply is not None or listener.dismissed)
        async with polling(listener, request_id, registry, every_s=POLL_S):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await run_unless(until_disconnect(request.receive), heard)


@asynccontextmanager
async def polling(
    listener: ReplyListener, request_id: str, registry: RequestRegistry, *, every_s: float
) -> AsyncIterator[None]:
    """Look for the reply in the registry, now and every so many seconds, and hand it to the listener."""

    async def poll() -> None:
        while listener.reply is None:
            state = await find_state(registry, request_id)
            if state is not None and state.reply is not None:
                listener.resolve(state.reply)
                return
            await asyncio.sleep(every_s)

    task = asyncio.create_task(poll())
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def find_state(registry: RequestRegistry, request_id: str) -> RequestState | None:
    """Return where a request stands; None if it is unknown, or Redis does not answer."""
    try:
        return await registry.find(request_id)
    except StoreUnavailable as fault:
        log.warning("waiting.registry_unavailable", request_id=request_id, error=str(fault))
        return None


async def state_of(request_id: str, caller: Caller, registry: RequestRegistry) -> RequestState:
    """Return where a request of the caller's tenant stands; 404 where the tenant has none of this id."""
    check_request_id(request_id)
    state = await registry.find(request_id)
    if state is None or state.tenant != caller.tenant:
        raise no_such_request()
    return state


def check_request_id(request_id: str) -> None:
    """Check that an id could be a request's; 404 where it could not."""
    if not _REQUEST_ID.fullmatch(request_id):
        raise no_such_request()


def no_such_request() -> ApiError:
    """Return the 404 for a request that does not exist. It is the same for one of another tenant."""
    return not_found(
        "no such request: it was never accepted, or its reply is no longer kept",
        code="request_not_found",
        param="request_id",
    )

"""Waiting for a reply until it comes, the client leaves, or the time is up.

With `on_disconnect` = `continue` a request goes on without its client, and its reply can be fetched later.
With `cancel` the stages end it, and stop a provider call that runs.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from starlette.requests import Request

from ingest.errors import as_repeat, timed_out
from ingest.follow.reply_hub import ReplyHub, ReplyListener
from ingest.submit.detached_tasks import DetachedTasks
from ingest.submit.submission import PreparedRequest
from streams.errors import StoreUnavailable
from streams.events import Reply
from streams.registry.cancellation import CLIENT_DISCONNECTED
from streams.registry.registry import RequestRegistry, RequestState
from streams.serving.api_keys import Caller
from streams.serving.errors import ApiError, not_found
from streams.tasks import cancel_and_wait, run_unless, until_disconnect

log = structlog.get_logger(__name__)

#: The pipeline itself ends a request at its deadline; its reply is given this long to arrive, in seconds.
GRACE_S = 2.0
#: How long a stream's status waits for the first text, in seconds; much longer, and proxies would give up.
FIRST_TEXT_S = 10.0
#: The reply to a request that came in elsewhere does not pass this replica: the registry is asked this often.
POLL_S = 1.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: How long a client that retries by itself is waited for. SDKs wait half a second before their first retry, a
#: second before the next, and then wait for the same request again.
RETRY_GRACE_S = 3.0


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
    heard = listener.until(lambda: bool(listener.text) or listener.reply is not None)
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


class ClientDisconnects:
    """Cancels abandoned requests, beside the HTTP requests that end; each within `timeout_s`."""

    def __init__(
        self, registry: RequestRegistry, *, timeout_s: float, retry_grace_s: float = RETRY_GRACE_S
    ) -> None:
        self._registry = registry
        self._retry_grace_s = retry_grace_s
        self._closing = asyncio.Event()
        self._tasks = DetachedTasks(timeout_s=timeout_s)

    def client_left(self, prepared: PreparedRequest, *, may_come_back: bool = False) -> None:
        """Note that a client has left before its answer was there. Returns at once."""
        if prepared.on_disconnect != "cancel":
            log.info("client_disconnect.goes_on", request_id=prepared.request_id)
        elif not self._tasks.start(self._cancel(prepared, self._retry_grace_s if may_come_back else 0.0)):
            log.warning(
                "client_disconnect.not_cancelled", request_id=prepared.request_id, reason="too many at once"
            )

    async def close(self) -> None:
        """Wait for the cancellations under way."""
        self._closing.set()
        await self._tasks.close()

    async def _cancel(self, prepared: PreparedRequest, after_s: float) -> None:
        with suppress(TimeoutError):
            if after_s:
                await asyncio.wait_for(self._closing.wait(), after_s)
        try:
            async with asyncio.timeout(self._tasks.timeout_s):
                answer = await self._registry.cancel(
                    prepared.request_id,
                    tenant=prepared.caller.tenant,
                    reason=CLIENT_DISCONNECTED,
                    only_alone=True,
                )
        except (StoreUnavailable, TimeoutError) as fault:
            # The answer is then produced and booked for nobody; it can still be fetched.
            log.warning("client_disconnect.not_cancelled", request_id=prepared.request_id, reason=str(fault))
        else:
            log.info("client_disconnect.cancel", request_id=prepared.request_id, answer=answer.value)

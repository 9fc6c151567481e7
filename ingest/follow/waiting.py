"""Waiting for replies, on the client's time."""

import asyncio
import time

import msgspec
import structlog
from starlette.requests import Request

from ingest.errors import ApiError, timed_out
from ingest.follow.replies import Listener
from ingest.outcomes import as_repeat
from ingest.ports import Registry
from ingest.submit.submission import Ask
from streams.errors import StoreUnavailable
from streams.events import Reply

log = structlog.get_logger(__name__)

#: The pipeline itself ends a request at its deadline; its word is given this long to arrive.
GRACE_S = 2.0
#: A stream's status waits for the first word, but not so long that a proxy would give up.
FIRST_WORD_S = 10.0


class Stopwatch(msgspec.Struct, frozen=True):
    """When an HTTP request was taken in, and how long it may take."""

    started: float
    deadline_ms: int

    @classmethod
    def start(cls, deadline_ms: int) -> "Stopwatch":
        """Start now."""
        return cls(time.monotonic(), deadline_ms)

    @property
    def give_up_at(self) -> float:
        """When to stop waiting, on the monotonic clock."""
        return self.started + self.deadline_ms / 1000 + GRACE_S

    @property
    def left_s(self) -> float:
        """How long there is still, in seconds; never negative."""
        return max(0.0, self.give_up_at - time.monotonic())

    @property
    def elapsed_ms(self) -> float:
        """How long it has taken so far."""
        return round((time.monotonic() - self.started) * 1000, 2)


async def wait_for_reply(
    listener: Listener, request: Request, ask: Ask, watch: Stopwatch, registry: Registry
) -> Reply | None:
    """Return the reply, or None where the client left before it came.

    Raises:
        ApiError: 504, it did not come in time. The request goes on.
    """
    reply = asyncio.create_task(listener.until_reply())
    gone = asyncio.create_task(until_disconnect(request))
    try:
        await asyncio.wait({reply, gone}, timeout=watch.left_s, return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            return reply.result()
        if gone.done():
            return None
    finally:
        reply.cancel()
        gone.cancel()
    stored = await stored_reply(registry, ask.request_id)
    if stored is None:
        raise timeout_of(ask)
    return as_repeat(stored)


async def wait_for_first_word(listener: Listener, request: Request, watch: Stopwatch) -> bool:
    """Wait until there is text, or the reply, or `FIRST_WORD_S` have passed.

    Returns:
        False where the client left before.
    """
    word = asyncio.create_task(_first_word(listener))
    gone = asyncio.create_task(until_disconnect(request))
    try:
        timeout_s = min(FIRST_WORD_S, watch.left_s)
        await asyncio.wait({word, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return word.done() or not gone.done()
    finally:
        word.cancel()
        gone.cancel()


async def _first_word(listener: Listener) -> None:
    while not listener.text and listener.reply is None:
        await listener.news(FIRST_WORD_S)


async def stored_reply(registry: Registry, request_id: str) -> Reply | None:
    """Return the reply in the registry, for the case that its record passed this replica by."""
    try:
        state = await registry.find(request_id)
    except StoreUnavailable as fault:
        log.warning("waiting.registry_unavailable", request_id=request_id, error=str(fault))
        return None
    return state.reply if state else None


def timeout_of(ask: Ask) -> ApiError:
    """Return the 504 for a request."""
    return timed_out(ask.request_id, ask.deadline_ms)


async def until_disconnect(request: Request) -> None:
    """Wait until the client is gone; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Looks, while a request is worked on, whether the work is still wanted, and stops it when it is not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agents.llm.ports import CallJournal
from agents.stores.journal import Fenced, Hold, Look
from streams.errors import StoreUnavailable

#: A cancelled call costs at most this much longer; each call in flight costs Redis one look in this time.
INTERVAL_S = 1.0

Pause = Callable[[float], Awaitable[None]]


class Stop:
    """The end of a block: what is awaited in it is cancelled when it comes.

    Cancelling the wait for a provider closes its connection, so that the provider stops, too.
    """

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit

    def within(self, seconds: float) -> None:
        """Stop after so many seconds; an earlier end stands."""
        at = asyncio.get_running_loop().time() + seconds
        before = self._limit.when()
        if not self._limit.expired() and (before is None or at < before):
            self._limit.reschedule(at)


class Watch:
    """Watches over the work on one request.

    Args:
        journal: knows whether the claim stands, and whether the request was cancelled.
        hold: the claim.
        pause: waits for a number of seconds.
    """

    def __init__(self, journal: CallJournal, hold: Hold, *, pause: Pause) -> None:
        self._journal = journal
        self._hold = hold
        self._pause = pause
        self._seen = Look(holds=True)

    @property
    def cancelled(self) -> str | None:
        """What has cancelled the request, once that was seen."""
        return self._seen.cancelled

    @asynccontextmanager
    async def over(self) -> AsyncIterator[None]:
        """Watch over a block; it ends early, without an exception, where the work is not wanted any more.

        Raises:
            Fenced: at the end of the block, another attempt took over.
        """
        async with stoppable() as stop:
            over = asyncio.Event()
            looking = asyncio.create_task(self._look_out(stop, over))
            try:
                yield
            finally:
                over.set()  # a look may swallow its cancellation, as `asyncio.wait_for` of Python 3.11 does
                looking.cancel()
                (fault,) = await asyncio.gather(looking, return_exceptions=True)
            if isinstance(fault, Exception):
                raise fault
        if not self._seen.holds:
            raise Fenced(self._hold)

    async def _look_out(self, stop: Stop, over: asyncio.Event) -> None:
        while self._seen.go_on and not over.is_set():
            await self._pause(INTERVAL_S)
            try:
                self._seen = await self._journal.look(self._hold)
            except StoreUnavailable:
                continue  # not known: the result's own fence decides
        if not over.is_set():
            stop.within(0)


@asynccontextmanager
async def stoppable() -> AsyncIterator[Stop]:
    """A block that can be stopped; it ends without an exception then."""
    try:
        async with asyncio.timeout(None) as limit:
            yield Stop(limit)
    except TimeoutError:
        if not limit.expired():
            raise

"""Looks, while a request is worked on, whether the work is still wanted, and stops it when it is not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agents.paid_calls.ports import CallJournal
from agents.stores.journal import Cancelled, Fenced, Hold, Look
from streams.errors import StoreUnavailable

#: A cancelled call costs at most this much longer, in seconds.
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


class Lookout:
    """Looks, once in `INTERVAL_S`, at all the requests that a worker works on, in one round trip for many.

    Args:
        journal: knows whether claims stand, and which requests were cancelled.
        pause: waits for a number of seconds.
    """

    def __init__(self, journal: CallJournal, *, pause: Pause) -> None:
        self._journal = journal
        self._pause = pause
        self._over: dict[Watch, Stop] = {}
        self._looking: asyncio.Task[None] | None = None

    def watch(self, hold: Hold) -> "Watch":
        """Return a watch over the work under a claim; it has not begun."""
        return Watch(self, hold)

    async def rest(self, hold: Hold, waiting: Awaitable[None]) -> None:
        """Wait, as long as the work is wanted.

        Raises:
            Cancelled: the request was cancelled meanwhile.
            Fenced: another attempt took over.
        """
        watch = self.watch(hold)
        async with watch.over():
            await waiting
        if watch.cancelled is not None:
            raise Cancelled(hold, watch.cancelled)

    def begin(self, watch: "Watch", stop: Stop) -> None:
        """Look at this one, too, and stop it where it is not wanted any more."""
        self._over[watch] = stop
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_out())

    async def end(self, watch: "Watch") -> None:
        """Look at this one no more."""
        self._over.pop(watch, None)
        if self._over or self._looking is None:
            return
        # It may swallow its cancellation, as `asyncio.wait_for` of Python 3.11 does: it then sees that
        # nothing is left to look at, or, where somebody has begun meanwhile, that another one looks out.
        looking, self._looking = self._looking, None
        looking.cancel()
        await asyncio.wait([looking])

    async def _look_out(self) -> None:
        me = asyncio.current_task()
        while self._over and self._looking is me:
            await self._pause(INTERVAL_S)
            watches = [watch for watch in self._over if watch.seen.go_on]
            try:
                looks = await self._journal.look([watch.hold for watch in watches]) if watches else []
            except StoreUnavailable:
                continue  # not known: the results' own fence decides
            except Exception as bug:  # noqa: BLE001  # it is not ours alone: each block raises it at its end
                for watch in watches:
                    watch.bug = bug
                continue
            for watch, look in zip(watches, looks, strict=True):
                self._saw(watch, look)

    def _saw(self, watch: "Watch", look: Look) -> None:
        stop = self._over.get(watch)
        if stop is None:
            return  # it has ended meanwhile
        watch.seen = look
        if not look.go_on:
            stop.within(0)


class Watch:
    """Watches over the work on one request.

    Args:
        lookout: looks at all of them.
        hold: the claim.

    Attributes:
        seen: what the last look has brought.
        bug: what has gone wrong with a look, beyond Redis being away.
    """

    def __init__(self, lookout: Lookout, hold: Hold) -> None:
        self._lookout = lookout
        self.hold = hold
        self.seen = Look(holds=True)
        self.bug: Exception | None = None

    @property
    def cancelled(self) -> str | None:
        """What has cancelled the request, once that was seen."""
        return self.seen.cancelled

    @asynccontextmanager
    async def over(self) -> AsyncIterator[None]:
        """Watch over a block; it ends early, without an exception, where the work is not wanted any more.

        Raises:
            Fenced: at the end of the block, another attempt took over.
        """
        async with stoppable() as stop:
            self._lookout.begin(self, stop)
            try:
                yield
            finally:
                await self._lookout.end(self)
            if self.bug is not None:
                raise self.bug
        if not self.seen.holds:
            raise Fenced(self.hold)


@asynccontextmanager
async def stoppable() -> AsyncIterator[Stop]:
    """A block that can be stopped; it ends without an exception then."""
    try:
        async with asyncio.timeout(None) as limit:
            yield Stop(limit)
    except TimeoutError:
        if not limit.expired():
            raise

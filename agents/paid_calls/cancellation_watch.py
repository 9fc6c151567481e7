"""Stops a call whose request was cancelled, or which another attempt has taken over.

async with cancellation_watch.over(lease) as watched:
    answer = await provider.embed(call)
if watched.cancelled:
    ...  # the block ended early
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agents.stores.journal import Journal
from agents.stores.journal_entries import Cancelled, Fenced, Lease, LeaseState
from streams.errors import StoreUnavailable
from streams.tasks import cancel_and_wait

#: Seconds between two looks: a cancelled call costs at most this much longer.
INTERVAL_S = 1.0


class Stop:
    """Ends a `stoppable` block early: what is awaited in it is cancelled.

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


@asynccontextmanager
async def stoppable() -> AsyncIterator[Stop]:
    """A block that can be stopped; it then ends without an exception."""
    try:
        async with asyncio.timeout(None) as limit:
            yield Stop(limit)
    except TimeoutError:
        if not limit.expired():
            raise


class Watched:
    """Work that is watched.

    Attributes:
        lease: the right to work on the request.
        stop: ends the work.
        state: what the last look has found.
        bug: what went wrong with a look, beyond Redis being away.
    """

    def __init__(self, lease: Lease, stop: Stop) -> None:
        self.lease = lease
        self.stop = stop
        self.state = LeaseState(held=True)
        self.bug: Exception | None = None

    @property
    def cancelled(self) -> str | None:
        """What has cancelled the request, once that was seen."""
        return self.state.cancelled


class CancellationWatch:
    """Looks once in `INTERVAL_S` at all the requests of a worker, in one round trip for many."""

    def __init__(self, journal: Journal, *, pause: Callable[[float], Awaitable[None]]) -> None:
        self._journal = journal
        self._pause = pause
        self._watched: dict[Watched, None] = {}
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def over(self, lease: Lease) -> AsyncIterator[Watched]:
        """Watch over a block. It ends early, without an exception, once the work is not wanted any more.

        Raises:
            Fenced: at the end of the block; another attempt took over.
        """
        async with stoppable() as stop:
            watched = Watched(lease, stop)
            self._watched[watched] = None
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_on())
            try:
                yield watched
            finally:
                await self._end(watched)
            if watched.bug is not None:
                raise watched.bug
        if not watched.state.held:
            raise Fenced(lease)

    async def wait(self, lease: Lease, waiting: Awaitable[None]) -> None:
        """Wait, as long as the work is wanted.

        Raises:
            Cancelled: the request was cancelled meanwhile.
            Fenced: another attempt took over.
        """
        async with self.over(lease) as watched:
            await waiting
        if watched.cancelled is not None:
            raise Cancelled(lease, watched.cancelled)

    async def _end(self, watched: Watched) -> None:
        self._watched.pop(watched, None)
        if not self._watched:
            looking, self._looking = self._looking, None
            await cancel_and_wait(looking)

    async def _look_on(self) -> None:
        # It may swallow its cancellation, as `asyncio.wait_for` of Python 3.11 does. Then it ends because
        # nothing is left to look at, or because another task looks meanwhile.
        me = asyncio.current_task()
        while self._watched and self._looking is me:
            await self._pause(INTERVAL_S)
            looked_at = [watched for watched in self._watched if watched.state.wanted]
            try:
                leases = [watched.lease for watched in looked_at]
                states = await self._journal.look(leases) if leases else []
            except StoreUnavailable:
                continue  # not known: the fence of the result decides
            except Exception as bug:  # noqa: BLE001  # each block raises it at its end
                for watched in looked_at:
                    watched.bug = bug
                continue
            for watched, state in zip(looked_at, states, strict=True):
                if watched in self._watched:  # it may have ended meanwhile
                    watched.state = state
                    if not state.wanted:
                        watched.stop.within(0)

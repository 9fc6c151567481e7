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

#: Seconds between two polls of the journal: a cancelled call costs at most this much longer.
INTERVAL_S = 1.0


@asynccontextmanager
async def cancel_scope() -> AsyncIterator[Callable[[float], None]]:
    """Yield a function that cancels the block after so many seconds; it then ends without an exception.

    Cancelling the wait for a provider closes its connection, so that the provider stops, too.
    """

    def cancel_within(seconds: float) -> None:
        at = asyncio.get_running_loop().time() + seconds
        before = limit.when()
        if not limit.expired() and (before is None or at < before):
            limit.reschedule(at)

    try:
        async with asyncio.timeout(None) as limit:
            yield cancel_within
    except TimeoutError:
        if not limit.expired():
            raise


class WatchedLease:
    """A lease whose work is watched."""

    def __init__(self, lease: Lease, cancel_within: Callable[[float], None]) -> None:
        self.lease = lease
        self.cancel_within = cancel_within
        self.state = LeaseState(held=True)  # as the last poll has found it
        self.bug: Exception | None = None  # what went wrong with a poll, beyond Redis being away

    @property
    def cancelled(self) -> str | None:
        """What has cancelled the request, once that was seen."""
        return self.state.cancelled


class CancellationWatch:
    """Polls the leases of a worker's requests every `INTERVAL_S`, in one round trip for many."""

    def __init__(self, journal: Journal, *, pause: Callable[[float], Awaitable[None]]) -> None:
        self._journal = journal
        self._pause = pause
        self._watched: dict[WatchedLease, None] = {}
        self._polling: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def over(self, lease: Lease) -> AsyncIterator[WatchedLease]:
        """Watch over a block. It ends early, without an exception, once the work is not wanted any more.

        At its end the block raises `Fenced` where another attempt took over.
        """
        async with cancel_scope() as cancel_within:
            watched = WatchedLease(lease, cancel_within)
            self._watched[watched] = None
            if self._polling is None:
                self._polling = asyncio.create_task(self._poll())
            try:
                yield watched
            finally:
                del self._watched[watched]
                if not self._watched:
                    polling, self._polling = self._polling, None
                    await cancel_and_wait(polling)
            if watched.bug is not None:
                raise watched.bug
        if not watched.state.held:
            raise Fenced(lease)

    async def wait(self, lease: Lease, waiting: Awaitable[None]) -> None:
        """Wait, as long as the work is wanted; then raise `Cancelled` or `Fenced`."""
        async with self.over(lease) as watched:
            await waiting
        if watched.cancelled is not None:
            raise Cancelled(lease, watched.cancelled)

    async def _poll(self) -> None:
        # It may swallow its cancellation, as `asyncio.wait_for` of Python 3.11 does. Then it ends because
        # nothing is left to watch, or because another task polls meanwhile.
        me = asyncio.current_task()
        while self._watched and self._polling is me:
            await self._pause(INTERVAL_S)
            polled = [watched for watched in self._watched if watched.state.wanted]
            try:
                leases = [watched.lease for watched in polled]
                states = await self._journal.lease_states(leases) if leases else []
            except StoreUnavailable:
                continue  # not known: the fence of the result decides
            except Exception as bug:  # noqa: BLE001  # each block raises it at its end
                for watched in polled:
                    watched.bug = bug
                continue
            for watched, state in zip(polled, states, strict=True):
                if watched in self._watched:  # it may have ended meanwhile
                    watched.state = state
                    if not state.wanted:
                        watched.cancel_within(0)

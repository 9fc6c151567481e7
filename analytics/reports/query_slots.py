"""Limits how many queries of analysts run at once, in all and for each tenant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from streams.errors import HeadraceError

#: The page runs two queries at once (web/api.js); several pages, and programs beside them, wait for slots.
WAITING_PER_TENANT: Final = 16
WAITING: Final = 64
WAIT_S: Final = 10.0


class TooManyQueries(HeadraceError):
    """There was no slot in time. `own`: because of the caller's own queries, not of others'."""

    def __init__(self, message: str, *, own: bool, retry_after_s: float = 2.0) -> None:
        super().__init__(message)
        self.own = own
        self.retry_after_s = retry_after_s


class _Share:
    """One tenant's slots: all but one, so that a busy tenant never takes the last one."""

    def __init__(self, slots: int) -> None:
        self.free = asyncio.Semaphore(max(1, slots - 1))
        self.present = 0


class QuerySlots:
    """First come, first served within a tenant; every wait is bounded.

    `running` queries run at once. `waiting` may wait, `waiting_per_tenant` of them one tenant's, each for
    `wait_s` at most.
    """

    def __init__(
        self,
        *,
        running: int,
        waiting: int = WAITING,
        waiting_per_tenant: int = WAITING_PER_TENANT,
        wait_s: float = WAIT_S,
    ) -> None:
        self._free = asyncio.Semaphore(running)
        self._running = running
        self._present = 0
        self._held = 0
        self._most = running + waiting
        self._most_per_tenant = max(1, running - 1) + waiting_per_tenant
        self._wait_s = wait_s
        self._shares: dict[str, _Share] = {}

    @property
    def running(self) -> int:
        """How many queries run."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many queries wait for a slot."""
        return self._present - self._held

    @asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Hold a slot while the block runs; `TooManyQueries` without one in time, or if too many wait."""
        share = self._enter(tenant)
        async with AsyncExitStack() as stack:
            stack.callback(self._leave, tenant, share)
            own = True
            try:
                async with asyncio.timeout(self._wait_s):
                    await stack.enter_async_context(share.free)
                    own = False  # from here on others are in its way
                    await stack.enter_async_context(self._free)
            except TimeoutError:
                raise self._refusal(own=own) from None
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    def _enter(self, tenant: str) -> _Share:
        share = self._shares.get(tenant) or _Share(self._running)
        own = share.present >= self._most_per_tenant
        if own or self._present >= self._most:
            raise self._refusal(own=own)
        self._shares[tenant] = share
        self._present += 1
        share.present += 1
        return share

    def _leave(self, tenant: str, share: _Share) -> None:
        self._present -= 1
        share.present -= 1
        if not share.present:
            del self._shares[tenant]

    def _refusal(self, *, own: bool) -> TooManyQueries:
        whose = "of yours " if own else ""
        return TooManyQueries(
            f"too many queries {whose}at once: {self._running} run at a time, and the others wait for their "
            "turn; try again in a moment",
            own=own,
        )

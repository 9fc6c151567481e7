"""Turns, shares and refusals."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from analytics.reports.query_service import QuerySlots, TooManyQueries


class Holder:
    """A query that runs until it is told to end."""

    def __init__(self, slots: QuerySlots, tenant: str) -> None:
        self.running = asyncio.Event()
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._hold(slots, tenant))

    async def _hold(self, slots: QuerySlots, tenant: str) -> None:
        async with slots.hold(tenant):
            self.running.set()
            await self._end.wait()

    async def end(self) -> None:
        self._end.set()
        await self.task


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_tenant_never_takes_the_last_slot() -> None:
    """However many it asks, another's query runs at once."""
    slots = QuerySlots(running=3)
    many = [Holder(slots, "acme") for _ in range(5)]
    await settle()
    assert [each.running.is_set() for each in many] == [True, True, False, False, False]
    other = Holder(slots, "globex")
    await settle()
    assert other.running.is_set()
    await other.end()
    await settle()
    assert [each.running.is_set() for each in many] == [True, True, False, False, False]
    for each in many:
        await each.end()


async def test_turns_come_in_order() -> None:
    """First come, first served."""
    slots = QuerySlots(running=2)
    first, second, third = (Holder(slots, "acme") for _ in range(3))
    await settle()
    await first.end()
    await settle()
    assert second.running.is_set()
    assert not third.running.is_set()
    await second.end()
    await settle()
    assert third.running.is_set()
    await third.end()


async def test_who_waits_too_long_is_refused_and_told_when_to_come_again() -> None:
    """Its own queries are in its way, or others': the two are told apart."""
    slots = QuerySlots(running=2, wait_s=0.01)
    acme, globex = Holder(slots, "acme"), Holder(slots, "globex")
    await settle()
    with pytest.raises(TooManyQueries) as own:
        async with slots.hold("acme"):
            pass
    assert own.value.own
    with pytest.raises(TooManyQueries) as others:
        async with slots.hold("initech"):
            pass
    assert not others.value.own
    assert others.value.retry_after_s >= 1
    await acme.end()
    await globex.end()
    async with slots.hold("initech"):
        pass


async def test_queues_are_bounded() -> None:
    """A tenant's, and everybody's together: the next one is refused at once."""
    slots = QuerySlots(running=2, waiting=3, waiting_per_tenant=2)
    acme = [Holder(slots, "acme") for _ in range(3)]
    globex = [Holder(slots, "globex") for _ in range(2)]
    await settle()
    with pytest.raises(TooManyQueries) as own:
        await AsyncExitStack().enter_async_context(slots.hold("acme"))
    assert own.value.own
    with pytest.raises(TooManyQueries) as all_full:
        await AsyncExitStack().enter_async_context(slots.hold("initech"))
    assert not all_full.value.own
    for each in (*acme, *globex):
        await each.end()


async def test_one_that_gives_up_leaves_no_trace() -> None:
    """Cancelled while it waits or runs, its place is free again."""
    slots = QuerySlots(running=1)
    running, waiting = Holder(slots, "acme"), Holder(slots, "acme")
    await settle()
    waiting.task.cancel()
    running.task.cancel()
    await asyncio.gather(running.task, waiting.task, return_exceptions=True)
    async with asyncio.timeout(1), slots.hold("acme"):
        pass
    assert slots._shares == {}
    assert slots._present == 0

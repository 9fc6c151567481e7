"""One look a round for all the work of a worker, each stopped for itself."""

import asyncio
from collections.abc import Sequence

import pytest

from agents.paid_calls.cancellation_watch import CancellationWatch
from agents.stores.journal_entries import Fenced, Lease, LeaseState
from streams.errors import StoreUnavailable
from tests.agents.llm.fakes import at_once


def lease(name: str) -> Lease:
    return Lease(request_id=name, record="llm.misses.v1:0:7", attempt=1)


class Rounds:
    """A journal that keeps who was looked at, and says what a test wants."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.says: dict[str, LeaseState] = {}
        self.fault: Exception | None = None

    async def lease_states(self, leases: Sequence[Lease]) -> list[LeaseState]:
        self.rounds.append([lease.request_id for lease in leases])
        if self.fault is not None:
            raise self.fault
        return [self.says.get(lease.request_id, LeaseState(held=True)) for lease in leases]

    async def more(self, rounds: int = 2) -> None:
        """Wait for some more of them."""
        end = len(self.rounds) + rounds
        while len(self.rounds) < end:
            await asyncio.sleep(0)


async def work(watch: CancellationWatch, name: str) -> str:
    """Work for ever."""
    async with watch.over(lease(name)) as watched:
        await asyncio.Event().wait()
    return watched.cancelled or ""


@pytest.fixture
def journal() -> Rounds:
    return Rounds()


@pytest.fixture
def watch(journal: Rounds) -> CancellationWatch:
    return CancellationWatch(journal, pause=at_once)  # type: ignore[arg-type]  # it only looks


async def test_all_are_looked_at_in_one_round(journal: Rounds, watch: CancellationWatch) -> None:
    """And only the one that is not wanted any more is stopped."""
    tasks = {name: asyncio.create_task(work(watch, name)) for name in ("a", "b", "c")}
    await journal.more()
    assert journal.rounds[-1] == ["a", "b", "c"]
    journal.says["b"] = LeaseState(held=True, cancelled="cancelled_by_sender")
    assert await tasks.pop("b") == "cancelled_by_sender"
    await journal.more()
    assert journal.rounds[-1] == ["a", "c"]
    journal.says |= {name: LeaseState(held=False) for name in "ac"}
    for task in tasks.values():
        with pytest.raises(Fenced):
            await task


async def test_nobody_looks_where_nothing_is_worked_on(journal: Rounds, watch: CancellationWatch) -> None:
    """The last one to end takes the looking with it, and the next one to begin brings it back."""
    for _ in range(2):
        async with watch.over(lease("a")):
            await journal.more()
        seen = len(journal.rounds)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(journal.rounds) == seen


async def test_redis_away_stops_nobody(journal: Rounds, watch: CancellationWatch) -> None:
    """Once it is back, what was cancelled meanwhile is seen."""
    journal.fault = StoreUnavailable("Redis is away")
    task = asyncio.create_task(work(watch, "a"))
    await journal.more(3)
    assert not task.done()
    journal.fault, journal.says["a"] = None, LeaseState(held=True, cancelled="client_disconnected")
    assert await task == "client_disconnected"


async def test_a_bug_comes_out_at_the_end_of_each_block(journal: Rounds, watch: CancellationWatch) -> None:
    """No work is cut short by it, and none ends as if nothing had been."""
    journal.fault = TypeError("a bug")
    ended = []

    async def one(name: str) -> None:
        async with watch.over(lease(name)):
            await journal.more(3)
            ended.append(name)

    faults = await asyncio.gather(one("a"), one("b"), return_exceptions=True)
    assert [str(fault) for fault in faults] == ["a bug", "a bug"]
    assert sorted(ended) == ["a", "b"]

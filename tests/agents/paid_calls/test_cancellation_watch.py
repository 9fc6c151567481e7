"""One look a round for all the work of a worker, each stopped for itself."""

import asyncio
from collections.abc import Sequence

import pytest

from agents.paid_calls.cancellation_watch import Lookout, Watch
from agents.stores.journal import Fenced, Hold, Look
from streams.errors import StoreUnavailable
from tests.agents.llm.fakes import at_once


def hold(name: str) -> Hold:
    return Hold(request_id=name, record="llm.misses.v1:0:7", attempt=1)


class Rounds:
    """A journal that keeps who was looked at, and says what a test wants."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []
        self.says: dict[str, Look] = {}
        self.fault: Exception | None = None

    async def look(self, holds: Sequence[Hold]) -> list[Look]:
        self.rounds.append([hold.request_id for hold in holds])
        if self.fault is not None:
            raise self.fault
        return [self.says.get(hold.request_id, Look(holds=True)) for hold in holds]

    async def more(self, rounds: int = 2) -> None:
        """Wait for some more of them."""
        end = len(self.rounds) + rounds
        while len(self.rounds) < end:
            await asyncio.sleep(0)


async def work(watch: Watch) -> str:
    """Work for ever."""
    async with watch.over():
        await asyncio.Event().wait()
    return watch.cancelled or ""


@pytest.fixture
def journal() -> Rounds:
    return Rounds()


@pytest.fixture
def lookout(journal: Rounds) -> Lookout:
    return Lookout(journal, pause=at_once)  # type: ignore[arg-type]  # it only looks


async def test_all_are_looked_at_in_one_round(journal: Rounds, lookout: Lookout) -> None:
    """And only the one that is not wanted any more is stopped."""
    tasks = {name: asyncio.create_task(work(lookout.watch(hold(name)))) for name in ("a", "b", "c")}
    await journal.more()
    assert journal.rounds[-1] == ["a", "b", "c"]
    journal.says["b"] = Look(holds=True, cancelled="cancelled_by_sender")
    assert await tasks.pop("b") == "cancelled_by_sender"
    await journal.more()
    assert journal.rounds[-1] == ["a", "c"]
    journal.says |= {name: Look(holds=False) for name in "ac"}
    for task in tasks.values():
        with pytest.raises(Fenced):
            await task


async def test_nobody_looks_where_nothing_is_worked_on(journal: Rounds, lookout: Lookout) -> None:
    """The last one to end takes the looking with it, and the next one to begin brings it back."""
    for _ in range(2):
        async with lookout.watch(hold("a")).over():
            await journal.more()
        seen = len(journal.rounds)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(journal.rounds) == seen


async def test_redis_away_stops_nobody(journal: Rounds, lookout: Lookout) -> None:
    """Once it is back, what was cancelled meanwhile is seen."""
    journal.fault = StoreUnavailable("Redis is away")
    task = asyncio.create_task(work(lookout.watch(hold("a"))))
    await journal.more(3)
    assert not task.done()
    journal.fault, journal.says["a"] = None, Look(holds=True, cancelled="client_disconnected")
    assert await task == "client_disconnected"


async def test_a_bug_comes_out_at_the_end_of_each_block(journal: Rounds, lookout: Lookout) -> None:
    """No work is cut short by it, and none ends as if nothing had been."""
    journal.fault = TypeError("a bug")
    ended = []

    async def one(name: str) -> None:
        async with lookout.watch(hold(name)).over():
            await journal.more(3)
            ended.append(name)

    faults = await asyncio.gather(one("a"), one("b"), return_exceptions=True)
    assert [str(fault) for fault in faults] == ["a bug", "a bug"]
    assert sorted(ended) == ["a", "b"]

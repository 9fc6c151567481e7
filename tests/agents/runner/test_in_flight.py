"""Bounded concurrency, with order kept within a key."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agents.runner.in_flight import KeyedTasks

RecordWork = Callable[[], Awaitable[None]]


class Gates:
    """Work that ends when its gate is opened, and a diary of what began and ended."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    def work(self, name: str, fault: Exception | None = None) -> RecordWork:
        gate = self._gates[name] = asyncio.Event()

        async def run() -> None:
            self.diary.append(f"+{name}")
            await gate.wait()
            self.diary.append(f"-{name}")
            if fault is not None:
                raise fault

        return run

    async def open(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()
        await settle()


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def gates() -> Gates:
    return Gates()


def tasks(limit: int, faults: list[BaseException] | None = None) -> KeyedTasks:
    return KeyedTasks(limit, (faults if faults is not None else []).append)


async def test_no_more_than_the_limit_are_in_flight(gates: Gates) -> None:
    """The next submission waits, and so does whoever reads the topic: that is the back-pressure."""
    pool = tasks(2)
    await pool.submit(b"1", gates.work("a"))
    await pool.submit(b"2", gates.work("b"))
    third = asyncio.ensure_future(pool.submit(b"3", gates.work("c")))
    await settle()
    assert (gates.diary, pool.in_flight, third.done()) == (["+a", "+b"], 2, False)
    await gates.open("b")
    assert (gates.diary, third.done()) == (["+a", "+b", "-b", "+c"], True)
    await gates.open("a", "c")
    assert pool.in_flight == 0


async def test_one_key_is_worked_on_strictly_in_order(gates: Gates) -> None:
    """A repeat never overtakes, nor runs beside, what it repeats; other keys do."""
    pool = tasks(8)
    for key, name in ((b"k", "a"), (b"k", "b"), (b"k", "c"), (b"other", "x")):
        await pool.submit(key, gates.work(name))
    await gates.open("c", "b", "x")
    assert gates.diary == ["+a", "+x", "-x"]
    await gates.open("a")
    assert gates.diary == ["+a", "+x", "-x", "-a", "+b", "-b", "+c", "-c"]
    assert pool.in_flight == 0


async def test_records_without_a_key_have_no_order(gates: Gates) -> None:
    """Nothing says that they belong together."""
    pool = tasks(8)
    for name in ("a", "b"):
        await pool.submit(None, gates.work(name))
    await settle()
    assert gates.diary == ["+a", "+b"]
    await gates.open("a", "b")


async def test_a_fault_is_reported_and_its_slot_is_free_again(gates: Gates) -> None:
    """Only a bug can raise here; the owner stops, and the record comes again."""
    faults: list[BaseException] = []
    pool = tasks(1, faults)
    fault = ZeroDivisionError()
    await pool.submit(b"k", gates.work("a", fault))
    await settle()
    await gates.open("a")
    assert faults == [fault]
    await pool.submit(b"k", gates.work("b"))
    await gates.open("b")
    assert gates.diary == ["+a", "-a", "+b", "-b"]


async def test_a_fault_does_not_stop_the_next_of_its_key(gates: Gates) -> None:
    """It waits for the end, whichever it was."""
    faults: list[BaseException] = []
    pool = tasks(4, faults)
    await pool.submit(b"k", gates.work("a", ZeroDivisionError()))
    await pool.submit(b"k", gates.work("b"))
    await gates.open("b", "a")
    assert gates.diary == ["+a", "-a", "+b", "-b"]
    assert len(faults) == 1


async def test_what_waits_for_its_turn_does_not_start_when_it_is_cancelled(gates: Gates) -> None:
    """At the end of the process every task is cancelled: that must not set off new work."""
    faults: list[BaseException] = []
    pool = tasks(4, faults)
    await pool.submit(b"k", gates.work("a"))
    await pool.submit(b"k", gates.work("b"))
    await settle()
    first, second = sorted(pool._tasks, key=lambda task: task is pool._last[b"k"])
    second.cancel()
    await settle()
    assert not first.cancelled()
    assert second.cancelled()
    await gates.open("a", "b")
    assert (gates.diary, faults, pool.in_flight) == (["+a", "-a"], [], 0)


async def test_nothing_is_remembered_of_what_is_done() -> None:
    """A million keys later the memory is that of the last few."""
    pool = tasks(16)

    async def nothing() -> None:
        """Be done at once."""

    for number in range(2_000):
        await pool.submit(str(number % 50).encode(), nothing)
    await settle()
    assert (pool._last, pool._tasks) == ({}, set())

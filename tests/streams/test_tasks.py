"""Tasks end when they are told to, and the first of two ends the other."""

import asyncio
from typing import Any, NoReturn

import pytest

from streams import tasks
from streams.errors import ConfigurationError
from streams.tasks import (
    Finished,
    cancel_and_wait,
    event_within,
    run_unless,
    unless_stopped,
    until_disconnect,
)


async def _forever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def _swallows(times: int) -> int:
    """Miss so many cancellations, as `asyncio.wait_for` of Python 3.11 may."""
    missed = 0
    while True:
        try:
            await _forever()
        except asyncio.CancelledError:
            if missed == times:
                raise
            missed += 1


async def test_tasks_have_ended_on_return() -> None:
    """Those that ended before, and none at all, are passed over."""
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    running = [asyncio.create_task(_forever()) for _ in range(2)]
    await cancel_and_wait(*running, ended, None)
    assert all(task.cancelled() for task in running)
    assert not ended.cancelled()


async def test_a_task_that_misses_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its process would never end."""
    monkeypatch.setattr(tasks, "_CANCEL_AGAIN_S", 0.0)
    task = asyncio.create_task(_swallows(2))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancel_and_wait(task)
    assert task.cancelled()


async def test_a_fault_while_being_cancelled_is_dropped() -> None:
    """The caller has asked for the end, not for the result."""

    async def clumsy() -> None:
        try:
            await _forever()
        finally:
            raise ConfigurationError("in its last moment")

    task = asyncio.create_task(clumsy())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert isinstance(task.exception(), ConfigurationError)


async def test_the_work_that_ends_first_returns_its_result() -> None:
    """None is a result, too."""
    assert await run_unless(_forever(), asyncio.sleep(0, "reply")) == Finished("reply")
    assert await run_unless(_forever(), asyncio.sleep(0)) == Finished(None)


async def test_an_interrupt_cancels_the_work_and_waits_for_its_end() -> None:
    """What the work holds is free when the caller goes on."""
    freed = asyncio.Event()

    async def work() -> None:
        try:
            await _forever()
        finally:
            await asyncio.sleep(0)
            freed.set()

    assert await run_unless(asyncio.sleep(0), work()) is None
    assert freed.is_set()


async def test_faults_of_either_side_are_raised() -> None:
    """Whatever happens, nothing goes on behind the caller's back."""

    async def broken() -> NoReturn:
        raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError):
        await run_unless(_forever(), broken())
    with pytest.raises(ConfigurationError):
        await run_unless(broken(), _forever())


async def test_cancelling_the_race_ends_both_sides() -> None:
    """As a server does with a request at its end."""
    begun: list[str] = []
    ended: list[str] = []

    async def noted(name: str) -> None:
        begun.append(name)
        try:
            await _forever()
        finally:
            ended.append(name)

    race = asyncio.create_task(run_unless(noted("interrupt"), noted("work")))
    while len(begun) < 2:
        await asyncio.sleep(0)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race
    assert sorted(ended) == ["interrupt", "work"]


async def test_a_stop_ends_the_work() -> None:
    """Work that comes to its end before is finished."""
    stop = asyncio.Event()
    assert await unless_stopped(stop, asyncio.sleep(0))
    stop.set()
    assert not await unless_stopped(stop, _forever())


async def test_an_event_is_waited_for_so_long_and_no_longer() -> None:
    """A wait of no time still sees an event that is set."""
    event = asyncio.Event()
    assert not await event_within(event, 0.001)
    assert not await event_within(event, -1)
    asyncio.get_running_loop().call_soon(event.set)
    assert await event_within(event, 60)
    assert await event_within(event, 0)


async def test_a_client_that_leaves_is_noticed() -> None:
    """Other messages are no disconnect."""
    messages: list[dict[str, Any]] = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    await until_disconnect(receive)
    assert not messages

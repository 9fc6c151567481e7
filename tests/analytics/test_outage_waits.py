"""Outages are waited out."""

import asyncio

import pytest

from analytics import outage_waits
from analytics.outage_waits import delay_s, patiently, unless_stopped
from analytics.sink.status import SinkStatus
from streams.errors import ClickHouseUnavailable, ConfigurationError


@pytest.mark.parametrize(
    ("attempt", "luck", "expected"),
    [
        (0, 0.0, 0.1),
        (0, 1.0, 0.2),
        (1, 1.0, 0.4),
        (4, 1.0, 3.2),
        (5, 1.0, 5.0),
        (5, 0.0, 2.5),
        (10_000, 1.0, 5.0),
    ],
)
def test_waits_double_up_to_five_seconds(attempt: int, luck: float, expected: float) -> None:
    """Spread over the upper half, so that replicas do not knock in step; never overflowing."""
    assert delay_s(attempt, luck) == pytest.approx(expected)


async def test_it_tries_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says what is away meanwhile, and forgets it afterwards."""
    status, seen = SinkStatus(), []

    async def no_wait(_seconds: float) -> None:
        seen.append(dict(status.outages))

    monkeypatch.setattr(asyncio, "sleep", no_wait)
    faults = [ClickHouseUnavailable("one"), ClickHouseUnavailable("two")]

    async def call() -> str:
        if faults:
            raise faults.pop(0)
        return "answer"

    assert await patiently(call, dependency="clickhouse", status=status) == "answer"
    assert [outages["clickhouse"].error for outages in seen] == ["one", "two"]
    assert seen[0]["clickhouse"].since == seen[1]["clickhouse"].since
    assert status.outages == {}
    assert status.last_error == "two"


async def test_what_does_not_pass_is_raised_at_once() -> None:
    """A wrong setting will not become right by waiting."""

    async def call() -> None:
        raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError):
        await patiently(call, dependency="clickhouse", status=SinkStatus())


async def test_a_stop_ends_the_waiting() -> None:
    """A process that still waits for its dependencies ends when it is told to."""
    stop = asyncio.Event()
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            stop.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert not await unless_stopped(stop, forever())
    assert cancelled.is_set()


async def test_work_that_ends_first_is_finished_or_raises() -> None:
    """The stop is then somebody else's business."""

    async def done() -> None:
        await asyncio.sleep(0)

    async def broken() -> None:
        raise ConfigurationError("wrong")

    assert await unless_stopped(asyncio.Event(), done())
    with pytest.raises(ConfigurationError):
        await unless_stopped(asyncio.Event(), broken())


async def test_work_that_misses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` of Python 3.11 makes it miss one: the process would never end."""
    monkeypatch.setattr(outage_waits, "_CANCEL_AGAIN_S", 0.0)
    stop = asyncio.Event()
    missed: list[int] = []

    async def work() -> None:
        while True:
            stop.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if missed:
                    raise
                missed.append(1)

    async with asyncio.timeout(5):
        assert not await unless_stopped(stop, work())
    assert missed

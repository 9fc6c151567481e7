"""Backoff doubles, is spread, and ends where tries, time or the wait do."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from streams.backoff import Backoff, Sleep, retry, spread
from streams.errors import ConfigurationError, KafkaUnavailable, StoreUnavailable

PLAIN = Backoff(first_s=0.1, max_s=2.0, jitter=0)


@pytest.mark.parametrize(
    ("failures", "expected"), [(0, 0.0), (1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (10_000, 2.0)]
)
def test_waits_double_up_to_the_limit(failures: int, expected: float) -> None:
    """No wait before the first failure, and no overflow after very many."""
    assert PLAIN.wait_s(failures) == pytest.approx(expected)


@pytest.mark.parametrize(("luck", "expected"), [(0.0, 1.5), (0.5, 2.0), (1.0, 2.5)])
def test_jitter_spreads_a_wait_to_both_sides(luck: float, expected: float) -> None:
    """By a share of it."""
    assert spread(2.0, jitter=0.25, luck=luck) == expected
    assert Backoff(jitter=0.25).wait_s(9, lambda: luck) == expected


class Flaky:
    """Fails so many times, then returns the number of its calls. It records the waits between."""

    def __init__(self, failures: int, fault: type[Exception] = StoreUnavailable) -> None:
        self.waits: list[float] = []
        self.told: list[tuple[int, str]] = []
        self._numbers = count(1)
        self._failures = failures
        self._fault = fault

    async def __call__(self) -> int:
        number = next(self._numbers)
        if number <= self._failures:
            raise self._fault(f"failure {number}")
        return number

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def tell(self, failures: int, fault: Exception) -> None:
        self.told.append((failures, str(fault)))


async def test_it_tries_until_there_is_an_answer() -> None:
    """Each failure but none after the last is told before its wait."""
    step = Flaky(3)
    assert await retry(step, backoff=PLAIN, sleep=step.sleep, on_failure=step.tell) == 4
    assert step.waits == pytest.approx([0.1, 0.2, 0.4])
    assert step.told == [(1, "failure 1"), (2, "failure 2"), (3, "failure 3")]


async def test_only_the_named_faults_are_tried_again() -> None:
    """Others are raised at once, and so is what no wait mends."""
    for fault in (KafkaUnavailable, ConfigurationError):
        step = Flaky(1, fault)
        with pytest.raises(fault):
            await retry(step, on=StoreUnavailable, sleep=step.sleep)
        assert not step.waits


async def test_the_last_fault_is_raised_when_the_tries_are_used_up() -> None:
    """Without a wait after the last."""
    step = Flaky(9)
    with pytest.raises(StoreUnavailable, match="failure 3"):
        await retry(step, attempts=3, backoff=PLAIN, sleep=step.sleep)
    assert len(step.waits) == 2


async def test_no_wait_goes_beyond_the_deadline() -> None:
    """The fault is raised where the next try would come too late."""
    step = Flaky(9)

    def remaining_s() -> float:
        return 0.65 - sum(step.waits)

    with pytest.raises(StoreUnavailable, match="failure 3"):
        await retry(step, backoff=PLAIN, sleep=step.sleep, remaining_s=remaining_s)
    assert step.waits == pytest.approx([0.1, 0.2])


async def test_a_wait_that_is_cut_short_ends_the_tries() -> None:
    """As when a consumer's partitions are taken away."""
    step = Flaky(9)
    drained: Callable[[bool], Sleep] = lambda whole: lambda _s: asyncio.sleep(0, whole)  # noqa: E731
    with pytest.raises(StoreUnavailable, match="failure 1"):
        await retry(step, sleep=drained(False))
    assert await retry(Flaky(2), sleep=drained(True)) == 3


async def test_cancelling_ends_the_wait_at_once() -> None:
    """The default wait is an ordinary sleep of the task."""
    waiting = asyncio.Event()
    task = asyncio.create_task(
        retry(Flaky(9), backoff=Backoff(first_s=600, max_s=600), on_failure=lambda *_: waiting.set())
    )
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

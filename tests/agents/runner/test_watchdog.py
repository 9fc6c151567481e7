"""The watchdog and its guard, with clocks and a broker that do as they are told."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from agents.runner.stage_app import ConsumerView
from agents.runner.watchdog import EXIT_STUCK, ProcessGuard, WatchClock, Watchdog, WorkerStalled
from tests.agents.runner.views import partition, view, work

Ends = Mapping[tuple[str, int], int] | None


class Scene:
    """A watchdog over one consumer; `ends` is what the broker says."""

    def __init__(self, seen: ConsumerView, *, ends: Ends, looks: int = 200) -> None:
        self.seen = seen
        self.ends = ends
        self.asked: list[Sequence[tuple[str, int]]] = []
        self.left = looks
        self.now = 0.0
        self.step_s = 1.0
        self.clock = WatchClock()
        self.dog = Watchdog(
            self.clock,
            ask_ends=self._ask,
            stall_timeout_s=10,
            sleep=self._sleep,
            monotonic=lambda: self.now,
        )
        self.dog.watch("guardrail", lambda: msgspec.structs.replace(self.seen, polls=int(self.now)))

    async def _ask(self, places: Sequence[tuple[str, int]]) -> Ends:
        self.asked.append(places)
        return self.ends

    async def _sleep(self, _: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise TimeoutError
        self.now += self.step_s

    async def run(self) -> BaseException | None:
        try:
            return await self.dog.run()
        except TimeoutError:
            return None


async def test_what_is_stuck_ends_the_worker_and_says_what_was_seen() -> None:
    """In the log, in the exception, and for /live."""
    scene = Scene(view(partition(highwater=12)), ends={("t", 0): 12})
    fault = await scene.run()
    assert isinstance(fault, WorkerStalled)
    assert "guardrail is stuck (not_fetching)" in str(fault)
    assert set(map(tuple, scene.asked)) == {(("t", 0),)}
    assert 11 <= scene.now <= 13
    assert scene.dog.stalled is not None
    assert scene.dog.stalled.what == "not_fetching"


async def test_nothing_is_stuck_while_the_broker_is_away() -> None:
    """It is not asked at every look."""
    scene = Scene(view(partition(highwater=12), held=1, in_flight=(work(0),)), ends=None)
    assert await scene.run() is None
    assert 20 <= len(scene.asked) <= 40


@pytest.mark.parametrize("back_at", range(20, 40))
async def test_a_broker_that_is_back_leaves_everybody_time_to_go_on(back_at: int) -> None:
    """Half of the stall time-out at least, at whatever moment it comes back."""
    scene = Scene(view(partition(highwater=12), held=1, in_flight=(work(0),)), ends=None, looks=back_at)
    assert await scene.run() is None
    scene.ends, scene.left = {("t", 0): 12}, 5
    assert await scene.run() is None
    scene.left = 100
    assert isinstance(await scene.run(), WorkerStalled)


@pytest.mark.parametrize(("end", "is_stuck"), [(10, False), (11, True)])
async def test_a_consumer_without_answers_is_stuck_only_if_there_are_records(
    end: int, is_stuck: bool
) -> None:
    """What it knows of the partition's end is old: the broker knows better."""
    scene = Scene(view(partition()), ends={("t", 0): end})
    assert isinstance(await scene.run(), WorkerStalled) == is_stuck


async def test_a_process_that_was_stopped_has_not_aged() -> None:
    """SIGSTOP for an hour is no hour without progress."""
    scene = Scene(view(partition(highwater=12)), ends={("t", 0): 12}, looks=4)
    scene.step_s = 3600.0
    assert await scene.run() is None
    assert scene.clock() == 8.0


async def test_reports_say_how_old_everything_is() -> None:
    """For /ready and /metrics."""
    scene = Scene(view(partition(), in_flight=(work(0), work(1)), last_ack_at=2.0), ends=None, looks=5)
    await scene.run()
    (report,) = scene.dog.reports()
    assert (report.oldest_in_flight_s, report.last_ack_age_s, report.last_commit_age_s) == (5.0, 3.0, None)
    assert scene.dog.beats == 5


class Beats:
    """What the event loop raises; and whether the process was ended."""

    def __init__(self) -> None:
        self.count = 0
        self.ended: list[int] = []
        self.guard = ProcessGuard(lambda: self.count, limit_s=5, end=self.ended.append)


def test_a_loop_that_is_blocked_is_noticed_from_another_thread() -> None:
    """Nothing on the loop itself could."""
    beats = Beats()
    for _ in range(20):
        beats.count += 1
        assert not beats.guard.step()
    assert [beats.guard.step() for _ in range(6)] == [False] * 5 + [True]


def test_a_loop_that_goes_on_in_time_is_not() -> None:
    """A slow callback is no stall."""
    beats = Beats()
    for _ in range(10):
        assert not any(beats.guard.step() for _ in range(5))
        beats.count += 1
        assert not beats.guard.step()


def test_a_process_that_should_end_is_ended() -> None:
    """In its time, whether the loop runs or not."""
    beats = Beats()
    beats.guard.end_within(3)
    steps = []
    for _ in range(3):
        beats.count += 1
        steps.append(beats.guard.step())
    assert steps == [False, False, True]


def test_the_guard_ends_the_process_with_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor starts it again."""
    monkeypatch.setattr("agents.runner.watchdog._STEP_S", 0.001)
    beats = Beats()
    beats.guard.end_within(0)
    beats.guard.start()
    beats.guard._thread.join(timeout=10)
    assert beats.ended == [EXIT_STUCK]


def test_a_guard_that_is_stopped_ends_nothing() -> None:
    """The process ends by itself."""
    beats = Beats()
    beats.guard.end_within(3600)
    beats.guard.start()
    beats.guard.stop()
    beats.guard._thread.join(timeout=10)
    assert not beats.guard._thread.is_alive()
    assert beats.ended == []

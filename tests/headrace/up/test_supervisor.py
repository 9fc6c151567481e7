"""Processes are kept running."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from headrace.up.supervisor import Supervisor, restart_delay_s
from streams.errors import HeadraceError


class FakeChild:
    """A child whose end and failures the test decides."""

    ports: ClassVar[dict[str, int]] = {}
    standby_pid = None
    log_path = Path("log")

    def __init__(self, role: str, stopped: list[str]) -> None:
        self.role = role
        self.pid: int | None = None
        self.starts = 0
        self.failures = 0
        self.returncode: int | None = None
        self.started = threading.Semaphore(0)
        self._stopped = stopped

    def start(self, on_progress: Callable[[str], None]) -> None:
        self.starts += 1
        self.started.release()
        if self.failures:
            self.failures -= 1
            raise HeadraceError(f"{self.role} cannot start")
        self.returncode, self.pid = None, 100 + self.starts

    def poll(self) -> int | None:
        return self.returncode

    def stop(self) -> None:
        self._stopped.append(self.role)


def supervisor(changes: list[None] | None = None) -> Supervisor:
    return Supervisor(lambda _: None, lambda: None if changes is None else changes.append(None))


def test_a_child_that_ends_is_started_again_even_if_that_fails_at_first() -> None:
    """It comes back by itself, and its restarts are counted."""
    child = FakeChild("worker", [])
    watching = supervisor()
    watching.start([child])
    assert child.started.acquire(timeout=5)
    child.failures = 1
    child.returncode = 9
    assert child.started.acquire(timeout=5)
    assert child.started.acquire(timeout=5)
    watching.stop()
    assert child.starts == 3
    assert watching.processes()[0].restarts == 1
    assert watching.processes()[0].state == "stopped"


def test_a_first_start_that_fails_is_told() -> None:
    """The operator learns what to change, rather than watching it try for ever."""
    child = FakeChild("kafka", [])
    child.failures = 1
    watching = supervisor()
    with pytest.raises(HeadraceError, match="kafka cannot start"):
        watching.start([child])
    assert watching.processes()[0].state == "failed"
    assert watching.processes()[0].error == "kafka cannot start"
    watching.stop()


def test_children_stop_in_the_reverse_order_of_their_start() -> None:
    """What depends on a part ends before the part."""
    stopped: list[str] = []
    watching = supervisor()
    watching.start([FakeChild("kafka", stopped)])
    watching.start([FakeChild("worker", stopped)])
    watching.stop()
    assert stopped == ["worker", "kafka"]


def test_children_that_started_together_stop_together() -> None:
    """A stop takes as long as the slowest of them, not as all of them one after the other."""
    meeting = threading.Barrier(2, timeout=10)

    class Meeting(FakeChild):
        def stop(self) -> None:
            meeting.wait()
            super().stop()

    stopped: list[str] = []
    watching = supervisor()
    watching.start([FakeChild("kafka", stopped)])
    watching.start([Meeting("ingest", stopped), Meeting("worker", stopped)])
    watching.stop()
    assert sorted(stopped[:2]) == ["ingest", "worker"]
    assert stopped[2] == "kafka"


@pytest.mark.parametrize(
    ("ends", "delay_s"),
    [([], 0.0), ([99.0], 0.0), ([98.0, 99.0], 0.2), ([97.0, 98.0, 99.0], 0.4), ([1.0, 99.0], 0.0)],
)
def test_the_delay_before_a_restart_grows_with_recent_ends(ends: list[float], delay_s: float) -> None:
    """The first end in a minute costs nothing; a process that dies at once does not spin."""
    assert restart_delay_s(ends, now=100.0) == pytest.approx(delay_s)


def test_the_delay_is_bounded() -> None:
    """Ten seconds, however often it ended."""
    assert restart_delay_s([99.0] * 16, now=100.0) == 10.0

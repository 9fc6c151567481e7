"""A standby takes over from a process that ends. Real processes, real kill -9."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.up.supervisor import ServiceProcess
from tests.headrace.embedded.processes import gone, until

_MODULE = "tests.headrace.up.patient_service"


class Service:
    """A service with a standby, and who has begun so far."""

    def __init__(self, folder: Path, *, standby: bool = True) -> None:
        self._begun = folder / "begun"
        self.child = ServiceProcess(
            "service",
            [_MODULE, str(self._begun)],
            environ={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            log_dir=folder,
            probe=lambda: self.child.pid in self.begun(),
            standby=standby,
        )

    def begun(self) -> list[int]:
        return [int(line) for line in self._begun.read_text().split()] if self._begun.exists() else []

    def start(self) -> None:
        self.child.start(lambda _: None)

    def lose_standby(self) -> None:
        assert self.child.standby_pid is not None
        os.kill(self.child.standby_pid, signal.SIGKILL)
        until(lambda: self.child.standby_pid is None)

    def kill(self) -> None:
        assert self.child.pid is not None
        os.kill(self.child.pid, signal.SIGKILL)
        until(lambda: self.child.poll() is not None)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.child.stop()


def test_the_standby_becomes_the_process_and_gets_a_standby_of_its_own(service: Service) -> None:
    """What waits begins in place of what has ended, and nothing else is started for it."""
    service.start()
    for _ in range(2):
        waiting = service.child.standby_pid
        assert waiting is not None
        assert waiting not in service.begun()
        service.kill()
        service.start()
        assert service.child.pid == waiting
        assert service.begun()[-1] == waiting
    assert service.child.standby_pid not in (None, waiting)


def test_a_standby_that_has_ended_is_no_obstacle(service: Service) -> None:
    """The process is then started as if there had been none."""
    service.start()
    for _ in range(2):
        service.lose_standby()
        service.kill()
        service.start()
        assert service.child.pid == service.begun()[-1]
        assert service.child.standby_pid is not None


def test_a_standby_that_took_over_is_replaced_like_any_other(service: Service) -> None:
    """Where it ends and has no standby, a process is started that waits for no word."""
    service.start()
    service.kill()
    service.start()
    service.lose_standby()
    service.kill()
    service.start()
    assert service.child.pid == service.begun()[-1]


def test_stopping_ends_the_standby_too(service: Service) -> None:
    """Nothing is left running, and the standby never begins."""
    service.start()
    running, waiting = service.child.pid, service.child.standby_pid
    assert running is not None
    assert waiting is not None
    service.child.stop()
    assert gone(running)
    assert gone(waiting)
    assert service.begun() == [running]


def test_without_standby_there_is_one_process(tmp_path: Path) -> None:
    """As for the services that start quickly."""
    service = Service(tmp_path, standby=False)
    try:
        service.start()
        assert service.child.standby_pid is None
    finally:
        service.child.stop()

"""What happens to children when those above them are killed. Real processes, real kill -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.headrace.embedded.processes import gone, until

RUN_ON = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + RUN_ON

PARENT = """
import sys, time
from pathlib import Path
from headrace.embedded.process import ChildProcess
for number in range(2):
    log = Path(sys.argv[1]) / f"{number}.log"
    child = ChildProcess(role="child", argv=[sys.executable, "-c", sys.argv[2]], log_path=log,
                         probe=lambda: "up" in log.read_text(), orphan_grace_s=0.5)
    child.start()
    child.wait_ready()
    print(child.pid, flush=True)
EXTRA
time.sleep(600)
"""


class Family:
    """A parent process with two guarded children."""

    def __init__(self, folder: Path, child_code: str, extra: str = "") -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT.replace("EXTRA", extra), str(folder), child_code],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.parent.stdout is not None
        self.children = [int(self.parent.stdout.readline()) for _ in range(2)]
        self.guards = [psutil.Process(pid).ppid() for pid in self.children]

    def kill_parent(self) -> None:
        self.parent.kill()
        self.parent.wait()

    def end(self) -> None:
        if self.parent.stdout is not None:
            self.parent.stdout.close()
        self.kill_parent()
        for pid in (*self.guards, *self.children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def families() -> Iterator[list[Family]]:
    made: list[Family] = []
    yield made
    for family in made:
        family.end()


@pytest.mark.parametrize("code", [RUN_ON, STUBBORN], ids=["obedient", "ignores SIGTERM"])
def test_children_die_with_a_killed_parent(tmp_path: Path, families: list[Family], code: str) -> None:
    """Kill -9 of the parent ends its children and their guards, whatever the children think of it."""
    family = Family(tmp_path, code)
    families.append(family)
    assert not any(map(gone, family.children))
    family.kill_parent()
    until(lambda: all(map(gone, (*family.children, *family.guards))))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux'")
def test_a_child_dies_with_its_killed_guard(tmp_path: Path, families: list[Family]) -> None:
    """Killing the guard is no way out; the other child is not touched."""
    family = Family(tmp_path, STUBBORN)
    families.append(family)
    os.kill(family.guards[0], signal.SIGKILL)
    until(lambda: gone(family.children[0]))
    assert not gone(family.children[1])


def test_a_fork_that_keeps_the_pipe_open_does_not_save_them(tmp_path: Path, families: list[Family]) -> None:
    """A forked copy of the parent holds the control pipe too: the guard sees its parent's id change."""
    fork = "import os\nif os.fork() == 0: time.sleep(60); os._exit(0)"
    family = Family(tmp_path, RUN_ON, extra=fork)
    families.append(family)
    until(lambda: len(psutil.Process(family.parent.pid).children()) == 3)
    copies = [p for p in psutil.Process(family.parent.pid).children() if p.pid not in family.guards]
    family.kill_parent()
    until(lambda: all(map(gone, family.children)))
    assert [gone(copy.pid) for copy in copies] == [False]
    copies[0].kill()


def test_sigterm_to_the_guard_ends_the_child(tmp_path: Path, families: list[Family]) -> None:
    """A system that shuts down signals everybody: the guard takes it as the end of its child."""
    family = Family(tmp_path, STUBBORN)
    families.append(family)
    os.kill(family.guards[0], signal.SIGTERM)
    until(lambda: gone(family.children[0]) and gone(family.guards[0]))


def test_ctrl_c_reaches_the_parent_only(tmp_path: Path, families: list[Family]) -> None:
    """Children are in sessions of their own, so that the parent decides in which order they stop."""
    family = Family(tmp_path, RUN_ON)
    families.append(family)
    sessions = {os.getsid(pid) for pid in (*family.guards, family.parent.pid)}
    assert len(sessions) == 3

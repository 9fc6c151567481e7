import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.embedded.errors import EmbeddedError, ProcessExited
from headrace.embedded.process import ChildProcess
from tests.headrace.embedded.processes import gone, until

RUN_ON = "import sys, time\nprint('up', flush=True)\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RUN_ON

MakeChild = Callable[..., ChildProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeChild]:
    """Makes children that run Python code; whatever is left is stopped."""
    made: list[ChildProcess] = []

    def build(code: str, **options: Any) -> ChildProcess:
        log_path = tmp_path / "child.log"
        defaults: dict[str, Any] = {"probe": lambda: "up" in log_path.read_text(), "role": "child"}
        argv = options.pop("argv", [sys.executable, "-c", code])
        made.append(ChildProcess(argv=argv, log_path=log_path, **(defaults | options)))
        return made[-1]

    yield build
    for child in made:
        child.stop(grace_s=0)


def test_a_child_runs_until_it_is_stopped(make: MakeChild) -> None:
    """Started and ready it has a pid; stopped it has an exit status and no process."""
    child = make(RUN_ON)
    child.start()
    child.wait_ready()
    pid = child.pid
    assert pid is not None
    assert child.running
    assert child.poll() is None
    assert child.stop() == 128 + signal.SIGTERM
    assert gone(pid)
    assert child.pid is None
    assert not child.running


def test_an_exit_status_is_the_childs_own(make: MakeChild) -> None:
    """The guard passes it on."""
    child = make("raise SystemExit(7)", probe=None)
    child.start()
    assert child.wait(20) == 7


def test_a_killed_child_is_noticed(make: MakeChild) -> None:
    """After kill -9 poll says so, and the child can be started again."""
    child = make(RUN_ON)
    child.start()
    child.wait_ready()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(20) == 128 + signal.SIGKILL
    child.start()
    child.wait_ready()
    assert child.running


def test_a_child_that_ignores_sigterm_is_killed_with_its_group(make: MakeChild) -> None:
    """After the grace period nothing of it is left, its own children included."""
    code = "import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n"
    child = make(f"{code}print('pid', p.pid, 'end')\n{STUBBORN}")
    child.start()
    child.wait_ready()
    grandchild = int(child.log_tail().split()[1])
    assert not gone(grandchild)
    assert child.stop(grace_s=0.1) == 128 + signal.SIGKILL
    until(lambda: gone(grandchild))


def test_an_early_end_carries_the_last_words(make: MakeChild) -> None:
    """A child that ends instead of becoming ready: role, status and the end of its log."""
    child = make("raise SystemExit('the disk is on fire')")
    child.start()
    with pytest.raises(ProcessExited, match=r"child ended with status 1.*\nthe disk is on fire") as caught:
        child.wait_ready()
    assert caught.value.returncode == 1
    assert caught.value.log_tail == "the disk is on fire"


def test_the_last_words_are_those_of_the_last_start(make: MakeChild, tmp_path: Path) -> None:
    """What an earlier run wrote does not explain this one's end."""
    (tmp_path / "child.log").write_text("old trouble\n")
    child = make("raise SystemExit('new trouble')", probe=None)
    child.start()
    child.wait(20)
    assert child.log_tail() == "new trouble"


def test_never_ready_is_an_error_and_the_child_still_runs(make: MakeChild) -> None:
    """The caller decides what to do with a child that is merely slow."""
    child = make(RUN_ON, probe=lambda: False, start_timeout_s=0.0)
    child.start()
    with pytest.raises(EmbeddedError, match="raise the start-up timeout"):
        child.wait_ready()
    assert child.running


def test_a_missing_program_is_named(make: MakeChild) -> None:
    """No process, no guard, just the name of what is missing."""
    with pytest.raises(EmbeddedError, match="no program /nowhere/java"):
        make("", argv=["/nowhere/java"]).start()


def test_starting_twice_is_refused(make: MakeChild) -> None:
    """Or the first child would be lost sight of."""
    child = make(RUN_ON)
    child.start()
    with pytest.raises(EmbeddedError, match="runs already"):
        child.start()


def test_stopping_what_never_ran_or_ended_is_fine(make: MakeChild) -> None:
    """Stop is for finally blocks: it never complains."""
    child = make("", probe=None)
    assert child.stop() is None
    child.start()
    child.wait(20)
    assert child.stop() == 0
    assert child.stop() == 0


def test_it_gets_its_environment_and_folder(make: MakeChild, tmp_path: Path) -> None:
    """Neither ours nor the guard's leaks in."""
    code = "import os; print(os.getcwd(), os.environ.get('A'), os.environ.get('HOME'))"
    child = make(code, probe=None, env={"A": "b"}, cwd=tmp_path)
    child.start()
    child.wait(20)
    assert child.log_tail() == f"{tmp_path.resolve()} b None"


def test_it_has_no_stray_descriptors_and_default_signals(make: MakeChild) -> None:
    """A program sees what a shell would give it: 0, 1 and 2, and dies of a broken pipe."""
    listing = "import os; print([fd for fd in range(3, 256) if os.path.exists(f'/dev/fd/{fd}')])"
    child = make(
        "", probe=None, argv=["sh", "-c", f'"{sys.executable}" -c "{listing}"; kill -PIPE $$; echo on']
    )
    child.start()
    assert child.wait(20) == 128 + signal.SIGPIPE
    assert child.log_tail() == "[]"


def test_what_a_child_left_behind_ends_with_it(make: MakeChild) -> None:
    """A child that crashes leaves no process of its group, such as Redis' background rewrite."""
    child = make("", probe=None, argv=["sh", "-c", "sleep 600 & echo $!; exit 3"])
    child.start()
    assert child.wait(20) == 3
    left_behind = int(child.log_tail())
    until(lambda: gone(left_behind))


def test_the_log_is_bounded(make: MakeChild, tmp_path: Path) -> None:
    """A talkative child fills two files of the given size and no more, and its end is kept."""
    child = make("for i in range(20000): print('line', i)", probe=None, log_bytes=100_000)
    child.start()
    assert child.wait(30) == 0
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"child.log", "child.log.1"}
    assert max(sizes.values()) <= 100_000
    assert child.log_tail().endswith("line 19999")


def test_a_child_outlives_the_thread_that_started_it(make: MakeChild) -> None:
    """Linux' parent-death signal fires when a thread ends; ours must not."""
    child = make(RUN_ON)
    starter = threading.Thread(target=child.start)
    starter.start()
    starter.join()
    child.wait_ready()
    with pytest.raises(AssertionError):
        until(lambda: not child.running, timeout_s=0.5)

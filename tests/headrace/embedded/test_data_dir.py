import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.embedded.data_dir import DataDirLock, exclusive
from headrace.embedded.errors import EmbeddedError


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    """A second holder is refused, told the folder, and welcome after the release."""
    first, second = DataDirLock("redis", tmp_path / "data"), DataDirLock("redis", tmp_path / "data")
    first.acquire()
    said: list[str] = []
    with pytest.raises(EmbeddedError, match=str(tmp_path / "data")):
        second.acquire(wait_s=1.5, on_progress=said.append)
    assert len(said) == 1
    first.release()
    second.acquire(wait_s=0)
    second.release()


def test_a_child_that_inherited_the_lock_keeps_it(tmp_path: Path) -> None:
    """The folder stays locked until the child has ended, though its parent let go."""
    lock = DataDirLock("redis", tmp_path)
    fd = lock.acquire()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[fd], stdout=subprocess.DEVNULL
    ) as child:
        lock.release()
        with pytest.raises(EmbeddedError):
            DataDirLock("redis", tmp_path).acquire(wait_s=0)
        child.communicate(b"\n")
    lock.acquire(wait_s=0)
    lock.release()


def test_a_child_that_did_not_inherit_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    """Only those who are given the descriptor hold the folder."""
    lock = DataDirLock("redis", tmp_path)
    fd = lock.acquire()
    assert not os.get_inheritable(fd)
    lock.release()


def test_exclusive_lets_one_in_at_a_time(tmp_path: Path) -> None:
    """Those who come together go through one after the other."""
    inside: list[int] = []
    seen: list[int] = []

    def visit(number: int) -> None:
        with exclusive(tmp_path / "a" / "lock"):
            inside.append(number)
            seen.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(visit, range(40)))
    assert seen == [1] * 40

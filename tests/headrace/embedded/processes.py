"""Watching processes that end on their own time."""

import time
from collections.abc import Callable

import psutil


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for something that another process does; fail when it never happens."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that nobody has reaped counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

"""CPU time, memory, SIGSTOP and SIGCONT of trees of processes, by their roles."""

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping

import psutil

_MIB = 1024 * 1024

#: CPU seconds of each process, by role and process id.
CpuTimes = Mapping[tuple[str, int], float]


def roles_of(root: int, roles: Mapping[int, str], *, rest: str) -> dict[int, str]:
    """Return every process of a tree with its role: its own, or that of the nearest process above it.

    Args:
        root: the tree's first process.
        roles: the processes whose role is known.
        rest: the role of what is below none of them.
    """
    found: dict[int, str] = {}

    def walk(process: psutil.Process, above: str) -> None:
        role = roles.get(process.pid, above)
        found[process.pid] = role
        for child in process.children():
            walk(child, role)

    with contextlib.suppress(psutil.NoSuchProcess):
        walk(psutil.Process(root), rest)
    return found


def cpu_times(processes: Mapping[int, str]) -> dict[tuple[str, int], float]:
    """Return the CPU time of each process with that of its ended children, in seconds (/proc/PID/stat)."""
    found = {}
    for pid, role in processes.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            found[role, pid] = sum(psutil.Process(pid).cpu_times()[:4])
    return found


def used_by_role(before: CpuTimes, after: CpuTimes) -> dict[str, float]:
    """Return the CPU seconds that each role used between two looks; a process that is new began at 0."""
    used: dict[str, float] = {}
    for (role, pid), seconds in after.items():
        used[role] = used.get(role, 0.0) + seconds - before.get((role, pid), 0.0)
    return used


def resident_mib(processes: Iterable[int]) -> float:
    """Return the memory of processes, in MiB; what they share is counted for each."""
    total = 0
    for pid in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss
    return total / _MIB


def send(number: signal.Signals, processes: Iterable[int]) -> None:
    """Send a signal to each process that is still there."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

"""Landlock: a Linux process gives up, for good, what it will not need.

The kernel then refuses it, and whatever it starts, every file outside the given folders, every program, TCP
connections of its own, other processes' memory and signals to them. It needs no privilege. The interface:
https://docs.kernel.org/userspace-api/landlock.html; the numbers below are those of ``linux/landlock.h``.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

# System calls, the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FIRST_VERSION_ALL = (1 << 13) - 1  # the four above; making and removing files of every kind
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ABSTRACT_UNIX_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("fd", ctypes.c_int32))


def version() -> int:
    """The version of the kernel's Landlock; 0 where there is none (Linux 5.13 has the first)."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)))


def confine(*, writable: Iterable[Path], readable: Iterable[Path]) -> bool:
    """Confine the calling thread, and the threads and processes it starts from now on, to these paths.

    Call it before other threads exist: those keep what they have.

    Missing paths are fine.

    Returns:
        Whether the kernel can do it. TCP is refused from version 4 on, signals from 6.

    Raises:
        OSError: The kernel can, but refused.
    """
    known = version()
    if not known:
        return False
    files = _FIRST_VERSION_ALL | (_REFER if known >= 2 else 0) | (_TRUNCATE if known >= 3 else 0)
    ruleset = _Ruleset(
        files=files,
        network=_BIND_TCP | _CONNECT_TCP if known >= 4 else 0,
        scoped=_ABSTRACT_UNIX_SOCKETS | _SIGNALS if known >= 6 else 0,
    )
    fd = _checked(_libc().syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0))
    try:
        for path in writable:
            _allow(fd, path, files & ~_EXECUTE)
        for path in readable:
            _allow(fd, path, _READ_FILE | _READ_DIR)
        _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_libc().syscall(_RESTRICT_SELF, fd, 0))
    finally:
        os.close(fd)
    return True


def _allow(ruleset_fd: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]  # of Linux
    except FileNotFoundError:
        return
    try:
        rule = _PathBeneath(access=access if path.is_dir() else access & _OF_FILES, fd=fd)
        _checked(_libc().syscall(_ADD_RULE, ruleset_fd, _RULE_PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result

"""The guard: a tiny process between us and a child that ends the child when we are gone.

``kill -9`` gives a parent no chance to clean up, so that another process has to notice. The guard holds the
read end of a pipe whose only write end is in the parent: end of file means that the parent is gone, on
Linux and macOS alike. It also looks at its parent's id once a second, for the case that a fork of the
parent keeps the pipe open. On Linux the child is bound to the guard by ``PR_SET_PDEATHSIG``, so that
killing the guard ends the child too; that is about the guard's thread, so it has only one.

The guard also copies the child's output to a log file of bounded size. It is run as a script
(``python -I -S guard.py …``), imports only the standard library, and costs about 20 ms to start and 9 MB. Its
protocol with `headrace.embedded.process`:

* control pipe, from the parent: ``T`` asks the child to end (SIGTERM), ``K`` kills its process group;
  end of file does the one and, after the grace period, the other;
* status pipe, to the parent: the child's pid in decimal and a newline;
* exit status: the child's, or 128 + the signal that ended it.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PARENT_CHECK_S = 1.0
_READ_BYTES = 65_536
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_EXEC_FAILED = 127  # the shell's status for a command that could not be run


class BoundedLog:
    """A log file that keeps at most two generations: `path` and `path` + ".1".

    It is opened at the first write: until a standby has something to say, the file is its predecessor's.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append, after setting the full file aside. A full disk loses log lines, not the child."""
        with contextlib.suppress(OSError):
            file = self._file or self._open()
            if self._size + len(chunk) > self._max_bytes and self._size:
                file = self._rotate(file)
            file.write(chunk)
            self._size += len(chunk)

    def _open(self) -> BinaryIO:
        self._file = file = self._path.open("ab", buffering=0)
        self._size = self._path.stat().st_size
        return file

    def _rotate(self, full: BinaryIO) -> BinaryIO:
        full.close()
        self._file = None
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        return self._open()


class Guard:
    """Runs one child, and does not let it outlive the parent."""

    def __init__(self, *, parent_pid: int, control_fd: int, grace_s: float, log: BoundedLog) -> None:
        self._parent_pid = parent_pid
        self._control_fd = control_fd
        self._grace_s = grace_s
        self._log = log
        self._child_pid = 0
        self._kill_at: float | None = None
        self._wakeup_read, self._wakeup_write = os.pipe()
        for fd in (self._wakeup_read, self._wakeup_write):
            os.set_blocking(fd, False)

    def run(self, argv: list[str], status_fd: int) -> int:
        """Start the child, watch over it, and return the exit status to end with."""
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing wakes up
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._orphaned())
        output_read, output_write = os.pipe()
        self._child_pid = spawn(argv, output_write, close=(self._control_fd, status_fd))
        os.close(output_write)
        os.set_blocking(output_read, False)
        with contextlib.suppress(OSError):  # the parent may be gone already: the pipe will say so
            os.write(status_fd, b"%d\n" % self._child_pid)
        os.close(status_fd)
        status = self._watch(output_read)
        self._kill_group()  # what the child itself left behind
        return status

    def _watch(self, output_fd: int) -> int:
        readers: dict[int, Callable[[], bool]] = {
            output_fd: lambda: self._copy(output_fd),
            self._control_fd: self._obey,
            self._wakeup_read: lambda: bool(_read(self._wakeup_read)),
        }
        while True:
            pid, status = os.waitpid(self._child_pid, os.WNOHANG)
            if pid:
                while self._copy(output_fd):
                    pass
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code
            if os.getppid() != self._parent_pid:
                self._orphaned()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_group()
            ready, _, _ = select.select(list(readers), [], [], PARENT_CHECK_S)
            for fd in ready:
                if not readers[fd]() and fd != self._wakeup_read:
                    del readers[fd]  # end of file

    def _copy(self, fd: int) -> bool:
        chunk = _read(fd)
        if chunk:
            self._log.write(chunk)
        return bool(chunk)

    def _obey(self) -> bool:
        orders = _read(self._control_fd)
        if not orders:
            self._orphaned()
        if b"T" in orders:
            self._terminate()
        if b"K" in orders:
            self._kill_group()
        return bool(orders)

    def _orphaned(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace_s
            self._terminate()

    def _terminate(self) -> None:
        # The child is not reaped before _watch returns, so its pid cannot be another process's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child_pid, signal.SIGTERM)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
            os.killpg(self._child_pid, signal.SIGKILL)


def spawn(argv: list[str], output_fd: int, *, close: tuple[int, ...]) -> int:
    """Fork and run `argv` in a process group of its own, bound to this process on Linux."""
    bind = _binder()
    guard_pid = os.getpid()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # the child does it too; whoever comes first
            os.setpgid(pid, pid)
        return pid
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        bind()
        if os.getppid() != guard_pid:
            os._exit(_EXEC_FAILED)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        for fd in close:
            os.close(fd)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these; programs expect them
            signal.signal(number, signal.SIG_DFL)
        os.execvp(argv[0], argv)  # noqa: S606 - no shell wanted
    except OSError as error:
        os.write(2, f"cannot run {argv[0]}: {error}\n".encode())
    finally:
        os._exit(_EXEC_FAILED)


def _binder() -> Callable[[], None]:
    """What the child calls to be killed with its guard; prepared before the fork."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes  # noqa: PLC0415 - not needed elsewhere, and it costs start-up time

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _read(fd: int) -> bytes:
    """What is there; nothing at end of file or when nobody wrote."""
    try:
        return os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return b""


def main(arguments: list[str]) -> int:
    """Read the command line that `headrace.embedded.process` writes, and run the guard."""
    parent_pid, control_fd, status_fd, grace_s, log_path, log_bytes, *argv = arguments
    guard = Guard(
        parent_pid=int(parent_pid),
        control_fd=int(control_fd),
        grace_s=float(grace_s),
        log=BoundedLog(Path(log_path), int(log_bytes)),
    )
    return guard.run(argv, int(status_fd))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

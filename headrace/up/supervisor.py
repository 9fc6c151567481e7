"""Keeps processes running: starts them, notices an end, starts again or lets a standby take over."""

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from headrace.embedded.child import Child, OnProgress, silent
from headrace.embedded.process import ChildProcess, Probe
from headrace.up.home import ProcessState, ProcessStatus
from streams.backoff import Backoff
from streams.errors import HeadraceError

_BEGIN = b"\n"


class ServiceProcess(Child):
    """One of Headrace's own processes; with `standby` (`--standby-fd`) a second one waits to take over."""

    def __init__(
        self,
        role: str,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        log_dir: Path,
        probe: Probe,
        port: int | None = None,
        stop_grace_s: float = 20.0,
        standby: bool = False,
    ) -> None:
        super().__init__({"client": port} if port else None)
        self.role = role
        self.log_path = log_dir / f"{role}.log"
        self.stop_grace_s = stop_grace_s
        self._argv = [sys.executable, "-m", *arguments]
        self._environ = environ
        self._probe = probe
        self._wants_standby = standby
        self._standby: Standby | None = None

    @property
    def standby_pid(self) -> int | None:
        """The id of the process that waits to take over."""
        return self._standby.pid if self._standby else None

    def start(self, on_progress: OnProgress = silent) -> None:
        """Start it, or let the standby begin, and return when it is ready."""
        on_progress(" on port ".join([f"starting {self.role}", *map(str, self._ports.values())]))
        super().start(on_progress)
        if self._wants_standby:
            # Where none can be started, the next start takes longer.
            with contextlib.suppress(HeadraceError, OSError):
                self._standby = Standby(lambda fd: self._make("--standby-fd", str(fd), pass_fds=[fd]))

    def stop(self) -> None:
        """Ask it to finish, and end it after the grace period."""
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.dismiss()
        super().stop()

    def _launch(self, on_progress: OnProgress) -> ChildProcess:
        del on_progress  # told already
        standby, self._standby = self._standby, None
        process = standby.begin() if standby else None
        if process is None:
            process = self._make()
            process.start()
        return process

    def _make(self, *options: str, pass_fds: Sequence[int] = ()) -> ChildProcess:
        return ChildProcess(
            role=self.role,
            argv=[*self._argv, *options],
            env=self._environ,
            log_path=self.log_path,
            probe=self._probe,
            pass_fds=pass_fds,
        )


class Standby:
    """A process that has loaded everything and waits to begin.

    Starting a worker takes about 3 s of processor time, most of it imports and the embedding model: more
    than its consumer groups wait for on a busy machine, so that its partitions would move away and back. A
    standby takes over in the time that it needs to connect. `make` is given the descriptor on which the
    process waits: it begins once a byte comes, and ends where the other end is closed.
    """

    def __init__(self, make: Callable[[int], ChildProcess]) -> None:
        read_fd, self._write_fd = os.pipe()
        try:
            self._process = make(read_fd)
            self._process.start()
        except BaseException:
            os.close(self._write_fd)
            raise
        finally:
            os.close(read_fd)

    @property
    def pid(self) -> int | None:
        """Its process id while it waits."""
        return self._process.pid

    def begin(self) -> ChildProcess | None:
        """Tell it to begin and return it; None where it has ended. It is the caller's from then on."""
        try:
            os.write(self._write_fd, _BEGIN)
        except BrokenPipeError:
            self._process.stop()
            return None
        finally:
            os.close(self._write_fd)
        return self._process

    def dismiss(self) -> None:
        """End it without use."""
        os.close(self._write_fd)
        self._process.stop()


_POLL_S = 0.1
_BACKOFF = Backoff(first_s=0.2, max_s=10.0, jitter=0)
#: A process that ran this long before it ended is restarted without delay.
_STABLE_S = 60.0

log = structlog.get_logger(__name__)


class _Watched:
    def __init__(self, child: Child) -> None:
        self.child = child
        self.state: ProcessState = "stopped"
        self.restarts = 0
        self.error: str | None = None
        self.ends: deque[float] = deque(maxlen=16)

    def status(self) -> ProcessStatus:
        return ProcessStatus(
            role=self.child.role,
            state=self.state,
            pid=self.child.pid,
            standby_pid=self.child.standby_pid,
            port=self.child.ports.get("client"),
            restarts=self.restarts,
            log=str(self.child.log_path),
            error=self.error,
        )


class Supervisor:
    """Starts children and keeps them running until `stop`."""

    def __init__(self, on_progress: Callable[[str], None], on_change: Callable[[], None]) -> None:
        self._on_progress = on_progress
        self._on_change = on_change
        self._groups: list[list[_Watched]] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def processes(self) -> tuple[ProcessStatus, ...]:
        """Return the state of every child, in the order of their start."""
        return tuple(watched.status() for group in self._groups for watched in group)

    def start(self, children: Sequence[Child]) -> None:
        """Start several children side by side; returns once all are ready. Raises `HeadraceError`."""
        added = [_Watched(child) for child in children]
        self._groups.append(added)
        _side_by_side(self._start, added)
        for watched in added:
            thread = threading.Thread(
                target=self._watch, args=(watched,), name=f"watch-{watched.child.role}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop every child: those that were started together side by side, the last started first."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=_BACKOFF.max_s)
        for group in reversed(self._groups):
            _side_by_side(self._stop, group)

    def _start(self, watched: _Watched) -> None:
        self._set(watched, "starting" if not watched.restarts else "restarting")
        try:
            watched.child.start(self._on_progress)
        except HeadraceError as fault:
            watched.error = str(fault)
            self._set(watched, "failed")
            raise
        watched.error = None
        self._set(watched, "running")

    def _stop(self, watched: _Watched) -> None:
        watched.child.stop()
        self._set(watched, "stopped")

    def _watch(self, watched: _Watched) -> None:
        while not self._stopping.wait(_POLL_S):
            returncode = watched.child.poll()
            if returncode is None:
                continue
            self._on_progress(f"{watched.child.role} ended with status {returncode}; starting it again")
            watched.restarts += 1
            watched.ends.append(time.monotonic())
            self._restart(watched)

    def _restart(self, watched: _Watched) -> None:
        while not self._stopping.wait(restart_delay_s(watched.ends, time.monotonic())):
            try:
                self._start(watched)
            except HeadraceError as fault:
                log.warning("process.restart_failed", role=watched.child.role, error=str(fault))
                watched.ends.append(time.monotonic())
            else:
                return

    def _set(self, watched: _Watched, state: ProcessState) -> None:
        watched.state = state
        self._on_change()


def _side_by_side(do: Callable[[_Watched], None], group: Sequence[_Watched]) -> None:
    """Do it for all of a group at once; returns when all are done, raises what the first of them raised."""
    with ThreadPoolExecutor(max_workers=len(group) or 1) as pool:
        for future in [pool.submit(do, watched) for watched in group]:
            future.result()


def restart_delay_s(ends: Sequence[float], now: float) -> float:
    """Return the wait before the next start: none after the first end in a minute, then doubled to 10 s."""
    return _BACKOFF.wait_s(sum(1 for end in ends if now - end < _STABLE_S) - 1)

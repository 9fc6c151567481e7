"""One of Headrace's own processes, with a standby that takes over when it ends."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.embedded.child import Child, OnProgress, silent
from headrace.embedded.process import ChildProcess, Probe
from streams.errors import HeadraceError

_BEGIN = b"\n"


class ServiceProcess(Child):
    """One of Headrace's own processes.

    `arguments` are those of `python -m …`. With `standby` a second process waits to take over from one that
    ends; its program must know `--standby-fd`.
    """

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
    than its consumer groups wait for it on a busy machine, so that its partitions would move away and back
    again. A standby takes over in the time that it needs to connect.

    `make` is given the descriptor on which the process waits: it begins once a byte comes, and ends where the
    other end is closed.
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

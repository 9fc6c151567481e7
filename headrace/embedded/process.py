"""A child process that never outlives us, with readiness, a bounded log and an orderly stop."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from headrace.embedded import guard
from headrace.embedded.data_dir import OWNER_ONLY
from headrace.embedded.errors import EmbeddedError, PortInUse, ProcessExited, last_words

LOOPBACK = "127.0.0.1"
"""Embedded parts listen here and nowhere else: Kafka has no password, and none of them has TLS."""

_SERVER_PORTS = range(20_000, 32_000)
"""Below the ephemeral ports of Linux (32768–60999) and macOS (49152–65535): see `free_port`."""

_ATTEMPTS = 50


def free_port() -> int:
    """A TCP port that nobody uses right now; another process may take it before the caller does.

    Not one of the kernel's ephemeral ports: while a server on such a port restarts, a client that tries to
    reconnect can be given the very same number for its own end and connect to itself, which keeps the server
    from coming back.
    """
    for port in random.sample(_SERVER_PORTS, _ATTEMPTS):
        if is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def choose_port(port: int | None, *, setting: str) -> int:
    """The port asked for, checked to be free (`PortInUse` names `setting`), or a free one for None or 0."""
    if not port:
        return free_port()
    if not is_free(port):
        raise PortInUse(LOOPBACK, port, setting)
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free to listen on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


ORPHAN_GRACE_S = 3.0
"""How long a child has to end by itself once its parent is gone. Kafka takes 0.3 s, Redis less."""

_PROBE_INTERVAL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_KILL_WAIT_S = 5.0
_TAIL_BYTES = 16_000

Probe = Callable[[], bool]


@dataclass(kw_only=True, eq=False)
class ChildProcess:
    """One program run under a guard (see `headrace.embedded.guard`). After it ended it can be started again.

    All methods block and may be called from any thread; from an event loop use `asyncio.to_thread`. The
    child is in a session of its own: Ctrl-C on the terminal reaches only us, and we decide in which order
    things stop. Only its owner can read what it writes. `probe` is called every 50 ms until it is ready.
    """

    role: str
    argv: Sequence[str]
    log_path: Path
    probe: Probe | None = None  # None: ready as soon as it runs
    env: Mapping[str, str] | None = None  # the whole of it; None: ours
    cwd: Path | None = None
    start_timeout_s: float = 60.0
    pass_fds: Sequence[int] = ()
    orphan_grace_s: float = ORPHAN_GRACE_S  # between SIGTERM and SIGKILL when we are gone
    log_bytes: int = 10_000_000  # a full log file is set aside; one older file is kept
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control_fd: int | None = field(default=None, init=False)
    _pid: int | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def pid(self) -> int | None:
        """The child's own process id (not its guard's); None when it does not run."""
        return self._pid if self.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._guard is not None and self.poll() is None

    def start(self) -> None:
        """Start it, without waiting until it is ready. Raises `EmbeddedError`."""
        if self.running:
            raise EmbeddedError(f"{self.role} runs already (pid {self._pid}): stop it first")
        self._release()
        program = shutil.which(self.argv[0])
        if program is None:
            raise EmbeddedError(f"{self.role} cannot start: there is no program {self.argv[0]}")
        self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Fails here, with its reason, rather than in the guard.
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._log_start = os.lseek(log, 0, os.SEEK_END)
        os.close(log)
        control_read, control_write = os.pipe()
        status_read, status_write = os.pipe()
        try:
            self._guard = self._spawn_guard(program, control_read, status_write)
        except OSError:
            os.close(control_write)
            os.close(status_read)
            raise
        finally:
            os.close(control_read)
            os.close(status_write)
        self._control_fd = control_write
        self._pid = self._read_pid(status_read)

    def wait_ready(self) -> None:
        """Block until the probe says yes. Raises `ProcessExited`, or `EmbeddedError`: it takes too long."""
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            returncode = self.poll()
            if returncode is not None:
                raise ProcessExited(self.role, returncode, self.log_path, self.log_tail())
            if self.probe is None or self.probe():
                return
            if time.monotonic() >= deadline:
                raise EmbeddedError(
                    f"{self.role} was not ready after {self.start_timeout_s:g} s. On a slow machine, raise "
                    f"the start-up timeout; {last_words(self.log_path, self.log_tail())}"
                )
            time.sleep(_PROBE_INTERVAL_S)

    def poll(self) -> int | None:
        """Its exit status once it has ended (128 + n after signal n), None while it runs or before."""
        if self._guard is None:
            return None
        returncode = self._guard.poll()
        if returncode is None or returncode >= 0:
            return returncode
        return 128 - returncode  # the guard itself was killed, and took the child along

    def wait(self, timeout_s: float) -> int | None:
        """Block until it has ended, at most so long; its exit status, or None if it still runs."""
        if self._guard is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(timeout_s)
        return self.poll()

    def stop(self, grace_s: float = 10.0) -> int | None:
        """Ask it to end (SIGTERM), kill its process group after the grace period; return its exit status."""
        if self._guard is None:
            return None
        self._order(b"T")
        if self.wait(grace_s) is None:
            self._order(b"K")
        if self.wait(_KILL_WAIT_S) is None:
            self._guard.kill()
            self._guard.wait(_KILL_WAIT_S)
        returncode = self.poll()
        self._release()
        return returncode

    def log_tail(self, max_bytes: int = _TAIL_BYTES) -> str:
        """The end of what it wrote since its last start."""
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                start = self._log_start if self._log_start <= size else 0  # rotated meanwhile
                log.seek(max(start, size - max_bytes))
                return log.read(max_bytes).decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def _spawn_guard(self, program: str, control_fd: int, status_fd: int) -> subprocess.Popen[bytes]:
        # -I -S: neither the user's PYTHON* variables nor site-packages matter to the guard.
        command = [sys.executable, "-I", "-S", guard.__file__]
        grace_s, log_path = self.orphan_grace_s, self.log_path.absolute()
        options = [os.getpid(), control_fd, status_fd, grace_s, log_path, self.log_bytes]
        return subprocess.Popen(
            [*command, *map(str, options), program, *self.argv[1:]],
            env=self.env,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(control_fd, status_fd, *self.pass_fds),
            start_new_session=True,
            umask=OWNER_ONLY,
        )

    def _read_pid(self, status_fd: int) -> int:
        with os.fdopen(status_fd, "rb") as status:
            line = status.readline()
        if not line:
            raise EmbeddedError(f"the guard of {self.role} did not start; is {sys.executable} intact?")
        return int(line)

    def _order(self, order: bytes) -> None:
        if self._control_fd is not None:
            with contextlib.suppress(BrokenPipeError):  # the guard is gone, and so is the child
                os.write(self._control_fd, order)

    def _release(self) -> None:
        if self._control_fd is not None:
            os.close(self._control_fd)
            self._control_fd = None
        self._pid = None


def answers_http(url: str) -> Probe:
    """A probe that says yes once a GET of `url` is answered with 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def probe() -> bool:
        try:
            with opener.open(url, timeout=_PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (OSError, HTTPException):
            return False

    return probe

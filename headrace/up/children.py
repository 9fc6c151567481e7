"""The children of the supervisor: the embedded parts, and our own processes."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from headrace.embedded.part import EmbeddedPart
from headrace.embedded.process import ChildProcess
from headrace.up.standby import Standby, prepare

_PROBE_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 60.0


class PartChild:
    """An embedded part as a child of the supervisor."""

    standby_pid = None

    def __init__(self, part: EmbeddedPart) -> None:
        self.part = part
        self.role = part.role

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.part.pid

    @property
    def port(self) -> int | None:
        """The port that clients connect to."""
        return self.part.ports.get("client")

    @property
    def log(self) -> str:
        """The path of its log."""
        return str(self.part.log_path)

    def start(self, on_progress: Callable[[str], None]) -> None:
        """Start it and return when it serves."""
        self.part.start(on_progress)

    def poll(self) -> int | None:
        """Return its exit status once it has ended."""
        return self.part.poll()

    def stop(self) -> None:
        """Stop it in good order."""
        self.part.stop()


class ServiceChild:
    """One of Headrace's own processes as a child of the supervisor.

    Args:
        role: its name in `headrace status`.
        arguments: of `python -m …`, e.g. ``("headrace", "ingest")``.
        environ: its whole environment.
        log_dir: where its log goes.
        probe: answers whether it is ready.
        port: what it serves, if anything.
        stop_grace_s: what it may take to finish what it has in hand.
        standby: whether a second process waits to take over from one that ends. Its program must know
            `--standby-fd`.
    """

    def __init__(
        self,
        role: str,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        log_dir: Path,
        probe: Callable[[], bool],
        port: int | None = None,
        stop_grace_s: float = 20.0,
        standby: bool = False,
    ) -> None:
        self.role = role
        self.port = port
        self._argv = [sys.executable, "-m", *arguments]
        self._environ = environ
        self._log_path = log_dir / f"{role}.log"
        self._probe = probe
        self._stop_grace_s = stop_grace_s
        self._wants_standby = standby
        self._standby: Standby | None = None
        self._process = self._make()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    @property
    def standby_pid(self) -> int | None:
        """The process id of the one that waits to take over."""
        return self._standby.pid if self._standby else None

    @property
    def log(self) -> str:
        """The path of its log."""
        return str(self._log_path)

    def start(self, on_progress: Callable[[str], None]) -> None:
        """Start it, or let the standby begin, and return when it is ready."""
        on_progress(f"starting {self.role}" + (f" on port {self.port}" if self.port else ""))
        try:
            self._begin()
            self._process.wait_ready()
        except BaseException:
            self.stop()
            raise
        if self._wants_standby:
            self._standby = prepare(self._make_standby)

    def poll(self) -> int | None:
        """Return its exit status once it has ended."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to finish, and end it after the grace period."""
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.dismiss()
        self._process.stop(self._stop_grace_s)

    def _begin(self) -> None:
        self._process.stop()  # it has ended, if it ever ran: this lets go of its guard
        standby, self._standby = self._standby, None
        process = standby.call() if standby else None
        if process is None:
            # A new one each time: the one before may have been a standby, whose word has been given.
            process = self._make()
            process.start()
        self._process = process

    def _make(self, *options: str, pass_fds: Sequence[int] = ()) -> ChildProcess:
        return ChildProcess(
            role=self.role,
            argv=[*self._argv, *options],
            env=self._environ,
            log_path=self._log_path,
            probe=self._probe,
            start_timeout_s=_START_TIMEOUT_S,
            pass_fds=pass_fds,
        )

    def _make_standby(self, wait_fd: int) -> ChildProcess:
        return self._make("--standby-fd", str(wait_fd), pass_fds=[wait_fd])


def answers(url: str) -> Callable[[], bool]:
    """Return a probe that says yes once a GET of `url` is answered with 200."""

    def probe() -> bool:
        try:
            return httpx.get(url, timeout=_PROBE_TIMEOUT_S).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return probe

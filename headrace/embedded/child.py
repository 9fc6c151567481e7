"""The one way to start, watch and stop a process, and its form for servers with a data folder and ports."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.embedded.data_dir import DataDirLock, kept_password, private_folder
from headrace.embedded.errors import EmbeddedError, ProcessExited
from headrace.embedded.process import LOOPBACK, ChildProcess, choose_port

OnProgress = Callable[[str], None]


def silent(_message: str) -> None:
    """Ignore progress."""


class Child(ABC):
    """A process that is started, watched, started again and stopped, by one thread at a time; all block."""

    role: str  # what it is called in messages and in `headrace status`
    log_path: Path
    stop_grace_s = 10.0  # seconds that it may take to end once it is asked to

    def __init__(self, ports: Mapping[str, int] | None = None) -> None:
        self._ports = dict(ports or {})
        self._process: ChildProcess | None = None

    @property
    def ports(self) -> Mapping[str, int]:
        """Name → port. Clients connect to the one named ``client``."""
        return dict(self._ports)

    @property
    def pid(self) -> int | None:
        """The process id; None when it does not run."""
        process = self._process  # another thread may stop it meanwhile
        return None if process is None else process.pid

    @property
    def standby_pid(self) -> int | None:
        """The id of a process that waits to take over from it."""
        return None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid is not None

    def poll(self) -> int | None:
        """The exit status once it has ended, None while it runs or before."""
        process = self._process
        return None if process is None else process.poll()

    def start(self, on_progress: OnProgress = silent) -> None:
        """Start it, for the first time or again, and return when it serves. Raises `EmbeddedError`."""
        if self.running:
            raise EmbeddedError(f"{self.role} runs already (pid {self.pid}): stop it first")
        self._end()
        try:
            self._process = self._launch(on_progress)
            self._process.wait_ready()
        except ProcessExited as error:
            self.stop()
            raise self._explain(error) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it in good order, or kill it after `stop_grace_s`. Stopping twice is fine."""
        self._end()

    @abstractmethod
    def _launch(self, on_progress: OnProgress) -> ChildProcess:
        """Return its process, started."""

    def _explain(self, error: ProcessExited) -> EmbeddedError:
        """Turn an early end into what the user should do; the error itself where that is unknown."""
        return error

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(self.stop_grace_s)


class EmbeddedPart(Child):
    """A server in a child process, on data of its own, on the loopback address.

    A part whose process died is started again with `start`: same data, same ports.

    Its folder is created if need be, and locked while it runs. A port None or 0 takes a free one, chosen at
    the first start and kept for as long as this object lives, so that clients find a restarted part again.
    Password None: the one in `data_dir`, made at the first start.
    """

    def __init__(
        self, data_dir: Path, ports: Mapping[str, int | None], *, password: str | None = None
    ) -> None:
        super().__init__()
        self._given_password = password
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / f"{self.role}.log"
        self._wanted = dict(ports)
        self._lock = DataDirLock(self.role, self.data_dir)

    @property
    def port(self) -> int:
        """The port that clients connect to; it is chosen at the first start."""
        if "client" not in self._ports:
            raise EmbeddedError(f"embedded {self.role} has no port yet: start it first")
        return self._ports["client"]

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """What a client is configured with."""

    @property
    def _password(self) -> str:
        return self._given_password or kept_password(private_folder(self.data_dir) / "password")

    def stop(self) -> None:
        """Stop it in good order and give up the data folder."""
        super().stop()
        self._lock.release()

    def _launch(self, on_progress: OnProgress) -> ChildProcess:
        self._lock.release()
        lock_fd = self._lock.acquire(on_progress=on_progress)
        for name, wanted in self._wanted.items():
            setting = f"HEADRACE_EMBEDDED_{self.role.upper()}_PORT"
            # Once chosen, a port must be free again at a restart: its own process has ended by now.
            self._ports[name] = choose_port(self._ports.get(name, wanted), setting=setting)
        process = self._prepare(on_progress, lock_fd)
        on_progress(f"starting {self.role} on {LOOPBACK}:{self.port}")
        process.start()
        return process

    @abstractmethod
    def _prepare(self, on_progress: OnProgress, lock_fd: int) -> ChildProcess:
        """Write its configuration and make its process, which inherits the lock; `self.ports` is set."""

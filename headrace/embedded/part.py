"""What the embedded parts have in common: a locked data folder, ports that stay, one child process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.errors import EmbeddedError, ProcessExited
from headrace.embedded.ports import LOOPBACK, choose_port
from headrace.embedded.process import ChildProcess

OnProgress = Callable[[str], None]


def silent(_message: str) -> None:
    """Progress for those who do not look."""


class EmbeddedPart(ABC):
    """A server in a child process, on data of its own, on the loopback address.

    `start` and `stop` block (from an event loop: `asyncio.to_thread`); one thread at a time may call
    them. A part whose child died is started again with `start`: same data, same ports.

    Args:
        data_dir: Its folder; created if need be, and locked while it runs.
        ports: Name → port asked for. None or 0 takes a free one, chosen at the first start and kept
            for as long as this object lives, so that clients find a restarted part again.
    """

    role: str
    """What it is called in messages and in process lists."""

    stop_grace_s = 10.0

    def __init__(self, data_dir: Path, ports: Mapping[str, int | None]) -> None:
        self.data_dir = data_dir.absolute()
        self._wanted = dict(ports)
        self._ports: dict[str, int] = {}
        self._lock = DataDirLock(self.role, self.data_dir)
        self._child: ChildProcess | None = None

    @property
    def ports(self) -> Mapping[str, int]:
        """Name → port; empty before the first start."""
        return dict(self._ports)

    @property
    def port(self) -> int:
        """The port that clients connect to.

        Raises:
            EmbeddedError: It was never started, so none has been chosen yet.
        """
        if "client" not in self._ports:
            raise EmbeddedError(f"embedded {self.role} has no port yet: start it first")
        return self._ports["client"]

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """What a client is configured with."""

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        return None if self._child is None else self._child.pid

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._child is not None and self._child.running

    @property
    def log_path(self) -> Path:
        """Where the server's own words are."""
        return self.data_dir / f"{self.role}.log"

    def poll(self) -> int | None:
        """The server's exit status once it has ended, None while it runs or before."""
        return None if self._child is None else self._child.poll()

    def start(self, on_progress: OnProgress = silent) -> None:
        """Start it and return when it serves.

        Args:
            on_progress: Told what is going on where it can take more than a second.

        Raises:
            EmbeddedError: It runs already, or one of its subclasses says what to change.
        """
        if self.running:
            raise EmbeddedError(f"embedded {self.role} runs already (pid {self.pid}): stop it first")
        self.stop()
        lock_fd = self._lock.acquire(on_progress=on_progress)
        try:
            self._choose_ports()
            child = self._child = self._prepare(on_progress, lock_fd)
            on_progress(f"starting {self.role} on {LOOPBACK}:{self.port}")
            child.start()
            child.wait_ready()
        except ProcessExited as error:
            self.stop()
            raise self._explain(error) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it in good order, or kill it after `stop_grace_s`. Stopping twice is fine."""
        if self._child is not None:
            self._child.stop(self.stop_grace_s)
            self._child = None
        self._lock.release()

    @abstractmethod
    def _prepare(self, on_progress: OnProgress, lock_fd: int) -> ChildProcess:
        """Write its configuration and make its child, which inherits the lock; `self.ports` is set."""

    @abstractmethod
    def _explain(self, error: ProcessExited) -> EmbeddedError:
        """Turn an early end into what the user should do; the error itself where that is unknown."""

    def _choose_ports(self) -> None:
        for name, wanted in self._wanted.items():
            setting = f"HEADRACE_EMBEDDED_{self.role.upper()}_PORT"
            # Once chosen, a port must be free again at a restart: its own child has ended by now.
            self._ports[name] = choose_port(self._ports.get(name, wanted), setting=setting)

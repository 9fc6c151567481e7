"""A server of the embedded stack: a process with a locked data folder, ports that stay, and an endpoint."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from headrace.embedded.child import Child, OnProgress
from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.errors import EmbeddedError
from headrace.embedded.ports import LOOPBACK, choose_port
from headrace.embedded.private_files import kept_password, private_folder
from headrace.embedded.process import ChildProcess


class EmbeddedPart(Child):
    """A server in a child process, on data of its own, on the loopback address.

    A part whose process died is started again with `start`: same data, same ports.

    Args:
        data_dir: Its folder; created if need be, and locked while it runs.
        ports: Name → port asked for. None or 0 takes a free one, chosen at the first start and kept
            for as long as this object lives, so that clients find a restarted part again.
        password: What clients must know. None: the one in `data_dir`, made at the first start.
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

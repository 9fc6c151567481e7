"""The one way to start, watch and stop a process: the base of embedded parts and of our own services."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.embedded.errors import EmbeddedError, ProcessExited
from headrace.embedded.process import ChildProcess

OnProgress = Callable[[str], None]


def silent(_message: str) -> None:
    """Ignore progress."""


class Child(ABC):
    """A process that is started, watched, started again and stopped.

    All methods block (from an event loop: `asyncio.to_thread`); one thread at a time may call `start` and
    `stop`.

    Attributes:
        role: What it is called in messages and in `headrace status`.
        stop_grace_s: Seconds that it may take to end once it is asked to.
    """

    role: str
    log_path: Path
    stop_grace_s = 10.0

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
        """Start it, for the first time or again, and return when it serves.

        Raises:
            EmbeddedError: It runs already, or cannot start; the message says what to change.
        """
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

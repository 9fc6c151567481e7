"""ClickHouse as a part of the embedded stack: the server of this package in a child process.

Licences: chDB and ClickHouse are Apache-2.0.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from headrace.embedded.errors import (
    DataCorrupt,
    DataDirInUse,
    EmbeddedError,
    ExtraMissing,
    PortInUse,
    ProcessExited,
)
from headrace.embedded.part import EmbeddedPart, OnProgress
from headrace.embedded.ports import LOOPBACK
from headrace.embedded.process import ChildProcess

_PROBE_TIMEOUT_S = 1.0
_PORT_SETTING = "HEADRACE_EMBEDDED_CLICKHOUSE_PORT"


class EmbeddedClickHouse(EmbeddedPart):
    """The ClickHouse HTTP interface over chDB.

    An insert is on disk, in the operating system's hands, when it is answered: a killed process loses
    nothing that it acknowledged.

    Args:
        data_dir: Folder for the databases and the log.
        port: Port to listen on; None or 0 takes a free one.
        password: Password of the user ``default``; None: none is needed.
        reader_password: Makes a user ``reader``, who may only read tables; None: no such user.
        start_timeout_s: Seconds until it must answer.
    """

    role = "clickhouse"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        password: str | None = None,
        reader_password: str | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        super().__init__(data_dir, {"client": port})
        self._password = password
        self._reader_password = reader_password
        self._start_timeout_s = start_timeout_s

    @property
    def endpoint(self) -> str:
        """A URL such as ``http://127.0.0.1:8123``."""
        return f"http://{LOOPBACK}:{self.port}"

    def _prepare(self, on_progress: OnProgress, lock_fd: int) -> ChildProcess:
        del on_progress  # it starts in about a second
        if find_spec("chdb") is None:
            raise ExtraMissing("ClickHouse", "chdb")
        return ChildProcess(
            role=self.role,
            argv=[
                *(sys.executable, "-m", "headrace.embedded.clickhouse"),
                *("--data-dir", str(self._databases)),
                *("--host", LOOPBACK, "--port", str(self.port)),
            ],
            env=self._environment(),
            log_path=self.log_path,
            probe=lambda: answers_ping(self.port),
            start_timeout_s=self._start_timeout_s,
            pass_fds=[lock_fd],
        )

    @property
    def _databases(self) -> Path:
        return self.data_dir / "databases"

    def _environment(self) -> dict[str, str]:
        """Passwords go by the environment: a command line is for everybody to see."""
        given = {
            "HEADRACE_EMBEDDED_CLICKHOUSE_PASSWORD": self._password,
            "HEADRACE_EMBEDDED_CLICKHOUSE_READER_PASSWORD": self._reader_password,
        }
        others = {name: value for name, value in os.environ.items() if name not in given}
        return {**others, **{name: value for name, value in given.items() if value is not None}}

    def _explain(self, error: ProcessExited) -> EmbeddedError:
        if "is in use by another process" in error.log_tail:
            return PortInUse(LOOPBACK, self.port, _PORT_SETTING)
        if "another embedded clickhouse runs" in error.log_tail:
            return DataDirInUse(self.role, self.data_dir)
        if "cannot read its data" in error.log_tail:
            return DataCorrupt(
                self.role,
                self.data_dir,
                f"the engine does not start on it; see {self.log_path}",
                f"Copy {self._databases} elsewhere and delete it to start empty; the request logs that "
                "Kafka still keeps can be loaded again.",
            )
        return error


def answers_ping(port: int) -> bool:
    """Whether the server on this port is ready for queries."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/ping", timeout=_PROBE_TIMEOUT_S) as answer:
            return bool(answer.read(16) == b"Ok.\n")
    except (urllib.error.URLError, OSError):
        return False

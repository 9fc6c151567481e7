"""ClickHouse as a part of the embedded stack: the server of this package in a child process.

Licences: chDB and ClickHouse are Apache-2.0.
"""

import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from headrace.embedded.child import EmbeddedPart, OnProgress
from headrace.embedded.clickhouse.http_query import OWNER
from headrace.embedded.data_dir import private_folder, write_private
from headrace.embedded.errors import EmbeddedError, ExtraMissing, ProcessExited
from headrace.embedded.process import LOOPBACK, ChildProcess, answers_http

_KEPT_VARIABLES = frozenset({
    "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ",
})  # fmt: skip
CANNOT_START = 2
"""The exit status of a server that says why it cannot start."""


class EmbeddedClickHouse(EmbeddedPart):
    """The ClickHouse HTTP interface over chDB.

    An insert is in the operating system's hands when it is answered: a killed process loses nothing that it
    acknowledged. A `reader_password` makes a user ``reader``, who may only read tables.
    """

    role = "clickhouse"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        password: str | None = None,
        reader_password: str | None = None,
    ) -> None:
        super().__init__(data_dir, {"client": port}, password=password)
        self._reader_password = reader_password

    @property
    def endpoint(self) -> str:
        """The owner's URL, such as ``http://default:password@127.0.0.1:8123``."""
        return f"http://{OWNER}:{quote(self._password, safe='')}@{LOOPBACK}:{self.port}"

    def _prepare(self, on_progress: OnProgress, lock_fd: int) -> ChildProcess:
        del on_progress  # it starts in about a second
        if find_spec("chdb") is None:
            raise ExtraMissing("ClickHouse", "chdb")
        passwords = self.data_dir / "passwords.json"
        given = {"owner": self._password, "reader": self._reader_password}
        write_private(passwords, json.dumps(given))
        return ChildProcess(
            role=self.role,
            argv=[
                *(sys.executable, "-m", "headrace.embedded.clickhouse"),
                *("--data-dir", str(self.data_dir / "databases"), "--passwords", str(passwords)),
                *("--port", str(self.port)),
            ],
            env=self._environment(),
            log_path=self.log_path,
            probe=answers_http(f"http://{LOOPBACK}:{self.port}/ping"),
            pass_fds=[lock_fd],
        )

    def _environment(self) -> dict[str, str]:
        """What it needs, and no more: a statement that got to the environment should find no key there."""
        temporary = self.data_dir / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed one left
        kept = {name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES}
        return kept | {"TMPDIR": str(private_folder(temporary))}

    def _explain(self, error: ProcessExited) -> EmbeddedError:
        if error.returncode == CANNOT_START:
            return EmbeddedError(error.log_tail.rpartition("clickhouse: ")[2])
        return error

"""chDB behind a few plain calls: connections, statements, inserts.

Everything here blocks and is called from worker threads. One engine serves a process. Each query gets a
connection of its own (0.4 ms to make): it has settings and a database of its own, and runs in parallel.
"""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from chdb.state.sqlitelike import Connection as ChdbConnection

from headrace.embedded.clickhouse.confinement import RefusedNames
from headrace.embedded.clickhouse.http_query import HttpQuery
from headrace.embedded.clickhouse.query_error import QueryError
from headrace.embedded.clickhouse.statement import InsertStatement
from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.errors import DataCorrupt

Summary = Mapping[str, str]
"""What a statement did, as X-ClickHouse-Summary says it: `read_rows`, `written_rows`, …"""

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class Connection:
    """One connection to the engine. Not for two threads at once."""

    def __init__(self, path: str) -> None:
        self._chdb = ChdbConnection(path)
        self.run(b"SET implicit_select = 0")  # as on a server; the library is made from clickhouse-local

    def close(self) -> None:
        """Give it back."""
        self._chdb.close()

    def run(
        self, sql: bytes, output_format: str = "Null", parameters: Mapping[str, str] | None = None
    ) -> tuple[bytes, Summary]:
        """Run one statement and return its whole output."""
        try:
            # It is declared for text and takes bytes as well: inline data need not be UTF-8.
            result = self._chdb.query(
                sql,  # type: ignore[arg-type]
                output_format,
                params=dict(parameters or {}),
            )
        except RuntimeError as error:
            raise QueryError.parse(str(error)) from error
        output: bytes = result.bytes()
        return output, _summary(result, len(output))

    def insert(
        self, insert: InsertStatement, text: bytes, data: IO[bytes], parameters: Mapping[str, str]
    ) -> Summary:
        """Run an INSERT: `text` is the SQL and as much of the data as came with it, `data` the rest.

        The data is always fed from a file. Within a statement the engine takes two line feeds, even of
        binary data, for the data's end. The library's own way to feed data in pieces reports rows as
        written that the table refused.
        """
        with tempfile.NamedTemporaryFile(prefix="headrace-input-") as file:
            file.write(text[insert.data_offset :])
            shutil.copyfileobj(data, file)
            file.flush()
            return self.run(insert.reading(file.name), parameters=parameters)[1]

    def apply(self, query: HttpQuery) -> None:
        """Apply a query's settings and database."""
        if query.database:
            escaped = query.database.replace("\\", "\\\\").replace("`", "\\`")
            self.run(f"USE `{escaped}`".encode())
        # The query's id travels as log_comment. `readonly` is last, because it forbids to set others.
        values = {**query.settings, "log_comment": query.query_id}
        pairs = sorted(values.items(), key=lambda pair: pair[0] == "readonly")
        assignments = ", ".join(f"{_setting_name(name)} = {_quoted(value)}" for name, value in pairs)
        self.run(f"SET {assignments}".encode())


class Engine:
    """The engine on a data folder, one in a process. Raises `DataCorrupt`, or as `DataDirLock.acquire`."""

    def __init__(self, data_dir: Path, config: Path) -> None:
        self._path = f"{data_dir.absolute()}?config-file={config}"
        self._lock = DataDirLock("clickhouse", data_dir)
        self._lock.acquire()
        try:
            self._root = Connection(self._path)
            self._leave_files_out()
        except RuntimeError as error:
            self._lock.release()
            raise DataCorrupt(
                "clickhouse",
                data_dir,
                str(error),
                "Copy the folder elsewhere and start with an empty one; request logs still in Kafka are "
                "loaded again.",
            ) from error
        self.version, self.timezone = self._column("SELECT arrayJoin([version(), serverTimezone()])")
        self.refused = RefusedNames.of(
            self._column("SELECT name FROM system.table_functions"),
            self._column(
                "SELECT name FROM system.table_engines UNION ALL SELECT name FROM system.database_engines"
            ),
        )

    def connect(self) -> Connection:
        """A new connection with the defaults."""
        return Connection(self._path)

    def classify(self, sql: bytes) -> tuple[str, int]:
        """What the SQL would do (READ_ONLY, …; UNKNOWN: it does not parse), and how many it is (30 µs)."""
        verdict = self._root._chdb._conn.classify_query(sql)  # noqa: SLF001
        return verdict["query_class"].name, verdict["statement_count"]

    def kill(self, query_id: str | None = None) -> None:
        """Cancel a query, or all of them. One that still runs fails with QUERY_WAS_CANCELLED."""
        which = "1" if query_id is None else f"Settings['log_comment'] = {_quoted(query_id)}"
        with contextlib.closing(self.connect()) as connection:
            connection.run(f"KILL QUERY WHERE {which} ASYNC".encode())

    def close(self) -> None:
        """Shut the engine down. All other connections must be closed before."""
        self._root.close()
        self._lock.release()

    def _leave_files_out(self) -> None:
        """Make `default` a database of tables only.

        The library lays it over the file system, so that FROM `/etc/passwd` reads the file. Its tables stay:
        the database is attached again under the same id.
        """
        overlay = "SELECT uuid FROM system.databases WHERE name = 'default' AND engine = 'Overlay'"
        for uuid in self._column(overlay):
            self._root.run(b"DETACH DATABASE default")
            self._root.run(f"ATTACH DATABASE default UUID '{uuid}' ENGINE = Atomic".encode())

    def _column(self, sql: str) -> list[str]:
        return self._root.run(sql.encode(), "TSVRaw")[0].decode().splitlines()


def _summary(result: Any, result_bytes: int) -> Summary:
    figures = {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "result_rows": result.rows_read(),
        "result_bytes": result_bytes,
        "elapsed_ns": int(result.elapsed() * 1e9),
    }
    return {name: str(value) for name, value in figures.items()}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _setting_name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise QueryError.of("UNKNOWN_SETTING", f"Unknown setting {name!r}")
    return name

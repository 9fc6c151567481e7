"""chDB behind a few plain calls: connections, settings that do not leak, statements, inserts.

Everything here blocks and is called from worker threads. One engine serves a process; each connection
to it (0.4 ms to make) has its own settings, database and temporary tables, and connections run in
parallel, so a request without a session gets a connection of its own.
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from chdb.state.sqlitelike import Connection as ChdbConnection

from headrace.embedded.clickhouse.confinement import Refused
from headrace.embedded.clickhouse.faults import QueryFailed
from headrace.embedded.clickhouse.statement import Insert, read_data_from, read_input_from
from headrace.embedded.data_dir import DataDirLock
from headrace.embedded.errors import DataCorrupt

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_CODE_UNKNOWN_SETTING = 115
# What differs from a server because chDB is built on clickhouse-local.
_AS_SERVER = "SET implicit_select = 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """What a statement did, for X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_ns: int = 0

    @classmethod
    def of(cls, result: Any, result_bytes: int) -> Self:
        """Read them off a chDB result."""
        return cls(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=result_bytes,
            elapsed_ns=int(result.elapsed() * 1e9),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What holds for one request only.

    Attributes:
        settings: Setting → value, as text.
        database: The current database; empty to leave it.
        query_id: What KILL QUERY and system.processes know the query by (as log_comment).
    """

    settings: Mapping[str, str]
    database: str
    query_id: str

    @property
    def assignments(self) -> dict[str, str]:
        """All settings; `readonly` last, because it forbids setting others."""
        values = {name: value for name, value in self.settings.items() if name != "readonly"}
        values["log_comment"] = self.query_id
        if "readonly" in self.settings:
            values["readonly"] = self.settings["readonly"]
        return values


class Connection:
    """One connection to the engine. Not for two threads at once."""

    def __init__(self, path: str) -> None:
        self._chdb = ChdbConnection(path)
        self.run(_AS_SERVER.encode(), "Null", {})

    def close(self) -> None:
        """Give it back; its temporary tables go with it."""
        self._chdb.close()

    def run(self, sql: bytes, output_format: str, parameters: Mapping[str, str]) -> tuple[bytes, Statistics]:
        """Run one statement and return its whole output.

        Raises:
            QueryFailed: The engine refused it.
        """
        try:
            # It is declared for text and takes bytes as well: inline data need not be UTF-8.
            result = self._chdb.query(
                sql,  # type: ignore[arg-type]
                output_format,
                params=dict(parameters),
            )
        except RuntimeError as error:
            raise QueryFailed.parse(str(error)) from error
        output: bytes = result.bytes()
        return output, Statistics.of(result, len(output))

    def insert(
        self, insert: Insert, text: bytes, data: IO[bytes], parameters: Mapping[str, str]
    ) -> Statistics:
        """Run an INSERT.

        Its data is always fed from a file. Within a statement the engine takes two line feeds, even of
        binary data, for the data's end; and the library's own way to feed data in pieces reports rows as
        written that the table refused (a violated constraint, too many partitions).

        Args:
            insert: Its parts.
            text: The SQL and as much of the data as came with it.
            data: The rest of the data.
            parameters: Values for ``{name:Type}``.

        Raises:
            QueryFailed: The engine refused the statement or its data.
        """
        with tempfile.NamedTemporaryFile(prefix="headrace-input-") as file:
            file.write(text[insert.data_offset :])
            shutil.copyfileobj(data, file)
            file.flush()
            if insert.selects:
                return self._insert_selected(insert, file.name, parameters)
            return self.run(read_data_from(insert, file.name), "Null", parameters)[1]

    def _insert_selected(self, insert: Insert, path: str, parameters: Mapping[str, str]) -> Statistics:
        """INSERT … SELECT … FROM input(…): the library knows no input(), and would insert nothing."""
        table = f"_input_{secrets.token_hex(8)}"
        source = read_input_from(insert, table)
        columns = b"SELECT * FROM null(%s)" % source.structure
        create = f"CREATE TEMPORARY TABLE {table} ENGINE = StripeLog AS ".encode() + columns
        fill = Insert(
            sql=f"INSERT INTO {table}".encode(),
            input_format=insert.input_format,
            data_offset=0,
            selects=False,
        )
        self.run(create, "Null", parameters)
        try:
            self.run(read_data_from(fill, path), "Null", parameters)
            return self.run(source.sql, "Null", parameters)[1]
        finally:
            self.run(f"DROP TEMPORARY TABLE IF EXISTS {table}".encode(), "Null", {})

    def classify(self, sql: bytes) -> tuple[str, int]:
        """What the statement would do, and how many statements it is.

        Returns:
            READ_ONLY, MUTATING, MUTATING_GLOBAL, CONTROL, or UNKNOWN with 0 if it does not parse.
        """
        # Connection has no public method for it; the engine's parser is the only right one.
        verdict = self._chdb._conn.classify_query(sql)  # noqa: SLF001
        return verdict["query_class"].name, verdict["statement_count"]

    def enter(self, scope: Scope) -> None:
        """Apply a request's settings and database.

        Raises:
            QueryFailed: A setting or the database does not exist, or its value is wrong.
        """
        if scope.database:
            self.use(scope.database)
        pairs = [f"{_setting_name(name)} = {_quoted(value)}" for name, value in scope.assignments.items()]
        self.run(f"SET {', '.join(pairs)}".encode(), "Null", {})

    def use(self, database: str) -> None:
        """Change the current database."""
        escaped = database.replace("\\", "\\\\").replace("`", "\\`")
        self.run(f"USE `{escaped}`".encode(), "Null", {})

    def database(self) -> str:
        """The current database."""
        return self.run(b"SELECT currentDatabase()", "TSVRaw", {})[0].decode().removesuffix("\n")

    def changed_settings(self) -> dict[str, str]:
        """The settings that differ from the defaults."""
        sql = b"SELECT name || '=' || base64Encode(value) FROM system.settings WHERE changed"
        return _decoded_pairs(self.run(sql, "TSVRaw", {})[0])

    def leave(self, scope: Scope, before: Mapping[str, str]) -> None:
        """Undo `enter` on a connection that lives on.

        Args:
            scope: What was entered.
            before: `changed_settings` before that.
        """
        for name in scope.settings:  # not log_comment: every request sets it anew
            value = _quoted(before[name]) if name in before else "DEFAULT"
            with contextlib.suppress(QueryFailed):  # there is no such setting, and `enter` said so
                self.run(f"SET {_setting_name(name)} = {value}".encode(), "Null", {})


class Engine:
    """The engine on a data folder: open it once in a process.

    Args:
        data_dir: Where its databases are; created if need be.
        config: The engine's configuration, see `confinement.write_config`.

    Attributes:
        refused: What no statement may name.

    Raises:
        DataDirInUse: Another process has it open.
        DataCorrupt: The engine does not start on it.
    """

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
        self.version = self._ask("SELECT version()")
        self.timezone = self._ask("SELECT serverTimezone()")
        self.host = self._ask("SELECT hostName()")
        self.refused = Refused.of(
            self._ask("SELECT name FROM system.table_functions").splitlines(),
            self._ask(
                "SELECT name FROM system.table_engines UNION ALL SELECT name FROM system.database_engines"
            ).splitlines(),
        )

    def connect(self) -> Connection:
        """A new connection with the defaults."""
        return Connection(self._path)

    def classify(self, sql: bytes) -> tuple[str, int]:
        """`Connection.classify` without a connection of one's own: it only parses (30 µs)."""
        return self._root.classify(sql)

    def kill_all(self) -> None:
        """Cancel whatever runs, before the end."""
        with contextlib.closing(self.connect()) as connection:
            connection.run(b"KILL QUERY WHERE 1 ASYNC", "Null", {})

    def kill(self, query_id: str) -> None:
        """Cancel a query if it still runs; it fails with QUERY_WAS_CANCELLED."""
        with contextlib.closing(self.connect()) as connection:
            sql = f"KILL QUERY WHERE Settings['log_comment'] = {_quoted(query_id)} ASYNC"
            connection.run(sql.encode(), "Null", {})

    def close(self) -> None:
        """Shut the engine down; all other connections must be closed before."""
        self._root.close()
        self._lock.release()

    def _leave_files_out(self) -> None:
        """Make `default` a database of tables only.

        The library lays it over the file system, so that FROM `/etc/passwd` reads the file. Its tables stay:
        the database is attached again under the same id.
        """
        overlay = "SELECT uuid FROM system.databases WHERE name = 'default' AND engine = 'Overlay'"
        if uuid := self._ask(overlay):
            for sql in (
                "DETACH DATABASE default",
                f"ATTACH DATABASE default UUID '{uuid}' ENGINE = Atomic",
            ):
                self._root.run(sql.encode(), "Null", {})

    def _ask(self, sql: str) -> str:
        return self._root.run(sql.encode(), "TSVRaw", {})[0].decode().strip()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _setting_name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise QueryFailed.of(_CODE_UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
    return name


def _decoded_pairs(lines: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines.decode().splitlines())
    return {name: base64.b64decode(value).decode() for name, _, value in pairs}

"""Tables that are sent along with a query and live as long as it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import UploadFile

from headrace.embedded.clickhouse.confinement import Refused
from headrace.embedded.clickhouse.engine import Connection
from headrace.embedded.clickhouse.faults import QueryFailed
from headrace.embedded.clickhouse.statement import find_insert, refuse_files, refuse_reaching_out

_CODE_BAD_ARGUMENTS = 36


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalTable:
    """One uploaded table.

    Attributes:
        name: What the query calls it.
        structure: Its columns, as in CREATE TABLE.
        format: The format of its data.
        data: Its rows.
    """

    name: str
    structure: str
    format: str
    data: IO[bytes]

    def create(self, connection: Connection, refused: Refused) -> None:
        """Make it a temporary table of this connection.

        Args:
            connection: The engine.
            refused: What its structure must not name.

        Raises:
            QueryFailed: Its structure or its data are wrong.
        """
        table = _identifier(self.name)
        create = f"CREATE TEMPORARY TABLE {table} ({self.structure}) ENGINE = Memory".encode()
        sql = f"INSERT INTO {table} FORMAT {self.format}\n".encode()
        for statement in (create, sql):
            refuse_files(statement)
            refuse_reaching_out(statement, refused)
        connection.run(create, "Null", {})
        insert = find_insert(sql)
        if insert is not None:
            connection.insert(insert, sql, self.data, {})

    def drop(self, connection: Connection) -> None:
        """Remove it from a connection that lives on."""
        connection.run(f"DROP TEMPORARY TABLE IF EXISTS {_identifier(self.name)}".encode(), "Null", {})


def external_table(name: str, upload: UploadFile, query: Mapping[str, str]) -> ExternalTable:
    """Read an uploaded file's description from the request's parameters.

    Raises:
        QueryFailed: It has no structure.
    """
    structure = query.get(f"{name}_structure")
    if structure is None and (types := query.get(f"{name}_types")):
        structure = ", ".join(f"_{index} {kind}" for index, kind in enumerate(types.split(","), 1))
    if structure is None:
        raise QueryFailed.of(
            _CODE_BAD_ARGUMENTS,
            "BAD_ARGUMENTS",
            f"Neither structure nor types have not been provided for external table {name}. Use fields "
            f"{name}_structure or {name}_types to do so",
        )
    return ExternalTable(
        name=name,
        structure=structure,
        format=query.get(f"{name}_format", "TabSeparated"),
        data=upload.file,
    )


def _identifier(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"

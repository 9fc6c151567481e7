"""Results of queries as a table for people, or as CSV, JSON or Parquet for programs. All digits are kept."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec
from clickhouse_connect.driver.client import Client
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from headrace.cli.console import out, progress
from headrace.ops.terminal_text import printable
from streams.errors import ConfigurationError
from streams.registry.reply_view import plain

_PIECE_BYTES = 1 << 16
#: The most rows that a table shows; a file has them all.
TABLE_ROWS = 1_000
#: What ClickHouse calls the formats that it writes itself.
_NATIVE = {"csv": "CSVWithNames", "parquet": "Parquet"}
_WIDEST = 100_000

_encoder = msgspec.json.Encoder(decimal_format="number")


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask: SQL, and the values of its parameters."""

    sql: str
    parameters: dict[str, Any] = {}


def write_result(client: Client, statement: Statement, output_format: Format, path: Path | None) -> None:
    """Ask, and write the result to a file, or to stdout where there is none.

    A file appears when it is complete, or not at all. JSON is an array of objects in which money is a number
    with exactly its digits; CSV has a header; CSV and Parquet are ClickHouse's own.

    Raises:
        ConfigurationError: Parquet was asked for on a terminal, or the file cannot be written.
        ClickHouseError: ClickHouse refused the statement.
    """
    if output_format is Format.TABLE and path is None:
        _show_table(client, statement)
        return
    if output_format is Format.PARQUET and path is None and sys.stdout.isatty():
        raise ConfigurationError("Parquet is binary: name a file with --output, or send stdout to one")
    with _sink(path) as sink:
        for piece in _pieces(client, statement, output_format):
            sink.write(piece)


def _show_table(client: Client, statement: Statement) -> None:
    """Ask, and show the result as a table, up to `TABLE_ROWS` rows of it."""
    with client.query_rows_stream(statement.sql, parameters=statement.parameters, tz_mode="aware") as stream:
        names = list(stream.source.column_names)
        rows = list(islice(stream, TABLE_ROWS + 1))
    table = _table(names, rows[:TABLE_ROWS])
    # A cut figure would be a wrong one: where the terminal is narrower, its lines break.
    width = max(out.width, Measurement.get(out, out.options.update(max_width=_WIDEST), table).maximum)
    Console(width=width, highlight=False).print(table)
    if len(rows) > TABLE_ROWS:
        progress(f"the first {TABLE_ROWS} rows; --format csv writes all of them")
    elif not rows:
        progress("no rows")


def _pieces(client: Client, statement: Statement, output_format: Format) -> Iterator[bytes]:
    if output_format is Format.JSON:
        yield from _json(client, statement)
        return
    if output_format is Format.TABLE:
        raise ConfigurationError("a table is for the terminal: name --format csv, json or parquet for a file")
    with client.raw_stream(
        statement.sql, parameters=statement.parameters, fmt=_NATIVE[output_format.value]
    ) as stream:
        yield from iter(partial(stream.read, _PIECE_BYTES), b"")


def _json(client: Client, statement: Statement) -> Iterator[bytes]:
    with client.query_rows_stream(statement.sql, parameters=statement.parameters, tz_mode="aware") as stream:
        names = list(stream.source.column_names)
        before = b"[\n"
        for row in stream:
            values = (plain(value) if isinstance(value, Decimal) else value for value in row)
            yield before + _encoder.encode(dict(zip(names, values, strict=True)))
            before = b",\n"
        yield (b"[" if before == b"[\n" else b"\n") + b"]\n"


@contextmanager
def _sink(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as fault:
        raise ConfigurationError(f"cannot write {path}: {fault.strerror or fault}") from fault
    finally:
        partial.unlink(missing_ok=True)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(names):
        numeric = _is_numeric(row[index] for row in rows)
        table.add_column(Text(printable(name)), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    return table


def _is_numeric(values: Iterable[Any]) -> bool:
    first = next((value for value in values if value is not None), None)
    return isinstance(first, int | float | Decimal) and not isinstance(first, bool)


def _shown(value: Any) -> str:
    """Return a value as people read it: money and counts whole, what strangers wrote escaped."""
    match value:
        case None:
            text = "–"
        case bool():
            text = "yes" if value else "no"
        case Decimal():
            text = f"{plain(value):f}"
        case float():
            text = f"{value:.1f}" if abs(value) >= 1_000 else f"{value:.4g}"
        case datetime():
            at = value.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
            text = at.removesuffix(".000")
        case list() | tuple():
            text = ", ".join(_shown(each) for each in value)
        case _:
            text = printable(str(value))
    return text

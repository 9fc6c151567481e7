"""What `headrace report` and `headrace sql` share: options, a connection that cannot write, and results.

A result is a table for people, or CSV, JSON or Parquet for programs. All digits are kept.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import clickhouse_connect
import msgspec
import typer
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from analytics.reports.query import Bound
from headrace.cli.console import fail, out, progress
from headrace.ops.terminal_text import printable
from streams.errors import ClickHouseUnavailable, ConfigurationError, HeadraceError, InputError
from streams.registry.entries import plain

_PIECE_BYTES = 1 << 16
#: The most rows that a table shows; a file has them all.
TABLE_ROWS = 1_000
#: What ClickHouse calls the formats that it writes itself.
_NATIVE = {"csv": "CSVWithNames", "parquet": "Parquet"}
_WIDEST = 100_000

_CONNECT_TIMEOUT_S = 5
DEFAULT_TIMEOUT_S = 60.0
#: Exit codes.
_FAILED = 1
_WRONG_USE = 2

_encoder = msgspec.json.Encoder(decimal_format="number")


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


AsFormat = Annotated[Format, typer.Option("--format", "-f", help="Format of the result.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File for the result. Default: standard output.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that the query may take.")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="Any other parameter, as name=value. Can be repeated."),
]


class QueryFailed(HeadraceError):
    """ClickHouse refused a statement, or gave up on it."""


@contextmanager
def query_faults() -> Iterator[None]:
    """Print what goes wrong in the block, and exit: with 1 where ClickHouse failed, else with 2."""
    try:
        yield
    except HeadraceError as fault:
        fail(str(fault))
        wrong_use = isinstance(fault, InputError | ConfigurationError)
        raise typer.Exit(_WRONG_USE if wrong_use else _FAILED) from fault


def parameters_of(pairs: list[str] | None) -> dict[str, Any]:
    """Return the parameters that ``name=value`` pairs give. Raises `ConfigurationError`."""
    given: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--param {pair!r} must be name=value")
        if name in given:
            raise ConfigurationError(f"--param {name} is given twice")
        given[name] = value
    return given


def query(
    statement: Bound, output_format: Format, path: Path | None, *, source: tuple[str, str], timeout_s: float
) -> None:
    """Ask ClickHouse, and write the result to a file, or to stdout where there is none.

    A file appears when it is complete, or not at all. JSON is an array of objects in which money is a number
    with exactly its digits; CSV has a header; CSV and Parquet are ClickHouse's own. `source` is the address
    of ClickHouse and the database. Raises `ConfigurationError`, `ClickHouseUnavailable` or `QueryFailed`.
    """
    with _read_only_client(*source, timeout_s=timeout_s) as client:
        if output_format is Format.TABLE and path is None:
            _show_table(client, statement)
            return
        if output_format is Format.PARQUET and path is None and sys.stdout.isatty():
            raise ConfigurationError("Parquet is binary: name a file with --output, or send stdout to one")
        with _sink(path) as sink:
            for piece in _pieces(client, statement, output_format):
                sink.write(piece)


@contextmanager
def _read_only_client(url: str, database: str, *, timeout_s: float) -> Iterator[Client]:
    """Connect for the block. Whoever the user is, nothing can be written through the connection."""
    where = url.rpartition("@")[2]  # without the password
    try:
        client = clickhouse_connect.get_client(
            dsn=url,
            database=database,
            connect_timeout=_CONNECT_TIMEOUT_S,
            send_receive_timeout=max(1, round(timeout_s)),
            autogenerate_session_id=False,
        )
    except (ClickHouseError, OSError) as fault:
        raise ClickHouseUnavailable(f"ClickHouse at {where}: {fault}") from fault
    try:
        # A user who may only read is read-only already, and may not set it.
        [(readonly,)] = client.query("SELECT toUInt8(getSetting('readonly'))").result_rows
        if not readonly:
            client.set_client_setting("readonly", "1")
        yield client
    except ClickHouseError as fault:
        # The first line is what ClickHouse says; a stack of its own may follow.
        raise QueryFailed(next(iter(str(fault).strip().splitlines()), repr(fault))) from fault
    except OSError as fault:
        raise ClickHouseUnavailable(f"ClickHouse at {where}: {fault}") from fault
    finally:
        client.close()


def _show_table(client: Client, statement: Bound) -> None:
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


def _pieces(client: Client, statement: Bound, output_format: Format) -> Iterator[bytes]:
    if output_format is Format.JSON:
        yield from _json(client, statement)
        return
    if output_format is Format.TABLE:
        raise ConfigurationError("a table is for the terminal: name --format csv, json or parquet for a file")
    with client.raw_stream(
        statement.sql, parameters=statement.parameters, fmt=_NATIVE[output_format.value]
    ) as stream:
        yield from iter(partial(stream.read, _PIECE_BYTES), b"")


def _json(client: Client, statement: Bound) -> Iterator[bytes]:
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
    """Return a value as people read it: money and counts with all digits, control characters escaped."""
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

"""`headrace sql`: ClickHouse as an analyst sees it, from the command line."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer

from analytics.reports.query import Bound
from headrace.cli.connection import clickhouse_to_read
from headrace.cli.console import DEFAULT_DATA_DIR, DataDir, progress
from headrace.cli.queries import (
    DEFAULT_TIMEOUT_S,
    AsFormat,
    Format,
    Output,
    Params,
    Timeout,
    parameters_of,
    query,
    query_faults,
)
from streams.errors import ConfigurationError

_PROMPT, _CONTINUED = "headrace> ", "      ... "
_WORDS_TO_LEAVE = frozenset({"exit", "quit", "\\q", "exit;", "quit;"})


def run_shell(read: Callable[[str], str], ask: Callable[[str], None]) -> None:
    """Read statements, each up to a semicolon at the end of a line, and ask them one by one.

    A statement that was begun and not ended is not asked.

    `read` returns the next line, given a prompt; it raises `EOFError` at the end and `KeyboardInterrupt`
    where the user drops a line. `ask` says itself what went wrong.
    """
    lines: list[str] = []
    while True:
        try:
            line = read(_CONTINUED if lines else _PROMPT)
        except EOFError:
            return
        except KeyboardInterrupt:
            lines = []
            continue
        if not lines and line.strip().lower() in _WORDS_TO_LEAVE:
            return
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            statement, lines = "\n".join(lines).strip().rstrip(";").strip(), []
            if statement:
                ask(statement)


app = typer.Typer()


@app.command(epilog='Example: headrace sql "SELECT status, count() FROM requests GROUP BY status"')
def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            help="One statement. Without it: an interactive shell on a terminal, else standard input."
        ),
    ] = None,
    param: Params = None,
    output_format: AsFormat = Format.TABLE,
    output: Output = None,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Query ClickHouse in SQL. Nothing can be written.

    The views requests, stages, llm_calls, scores and payloads hold each record once, however often it was
    delivered. Write a value as {name:Type} in the statement and give it with --param name=value.

    Exit code 0: answered. 1: ClickHouse failed. 2: an option is wrong.
    """
    with query_faults():
        parameters = parameters_of(param)
        source = clickhouse_to_read(data_dir)

        def ask(text: str) -> None:
            query(Bound(text, parameters), output_format, output, source=source, timeout_s=timeout_s)

        if statement is not None or not sys.stdin.isatty():
            text = sys.stdin.read() if statement is None else statement
            if not text.strip().rstrip(";").strip():
                raise ConfigurationError("there is no statement, neither as an argument nor on stdin")
            ask(text)
        elif output is not None or output_format is not Format.TABLE:
            raise ConfigurationError("the shell shows tables: give a statement with --format and --output")
        else:
            _run_interactively(ask)


def _run_interactively(ask: Callable[[str], None]) -> None:
    with suppress(ImportError):  # Python may be built without it: then lines cannot be edited
        import readline  # noqa: F401, PLC0415  # it changes `input` by being imported

    def ask_and_go_on(text: str) -> None:
        with suppress(typer.Exit), query_faults():
            ask(text)

    progress("read-only; statements end with a semicolon, and exit or Ctrl-D leaves")
    run_shell(input, ask_and_go_on)

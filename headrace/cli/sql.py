"""`headrace sql`: ClickHouse as an analyst sees it, from the command line."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.asking import (
    DEFAULT_TIMEOUT_S,
    WRONG_USE,
    AsFormat,
    Output,
    Params,
    Timeout,
    answer,
    parameters_of,
)
from headrace.cli.console import fail, progress
from headrace.cli.options import DEFAULT_DATA_DIR, DataDir
from headrace.cli.read_access import ReadAccess, read_access
from headrace.cli.results import Format, Statement
from headrace.cli.sql_shell import Shell
from streams.errors import ConfigurationError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sql)


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            help="One statement. Without it: a shell on a terminal, else the statement from stdin."
        ),
    ] = None,
    param: Params = None,
    output_format: AsFormat = Format.TABLE,
    output: Output = None,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Ask ClickHouse in SQL; nothing can be written.

    The views requests, stages, llm_calls, scores and payloads hold each record once, however often it was
    delivered. Values go in as {name:Type} in the statement and --param name=value.

    Exit code 0: answered. 1: ClickHouse did not. 2: an option is wrong.
    """
    try:
        parameters = parameters_of(param or [])
        access = read_access(data_dir)
        if statement is None and sys.stdin.isatty():
            _refuse_for_shell(output_format, output)
            _shell(access, parameters, timeout_s)
            return
        text = _statement(statement)
    except ConfigurationError as fault:
        fail(str(fault))
        raise typer.Exit(WRONG_USE) from fault
    answer(access, Statement(sql=text, parameters=parameters), output_format, output, timeout_s)


def _statement(given: str | None) -> str:
    text = given if given is not None else sys.stdin.read()
    if not text.strip().rstrip(";").strip():
        raise ConfigurationError("there is no statement, neither as an argument nor on stdin")
    return text


def _refuse_for_shell(output_format: Format, output: Path | None) -> None:
    if output is not None or output_format is not Format.TABLE:
        raise ConfigurationError("the shell shows tables: give a statement with --format and --output")


def _shell(access: ReadAccess, parameters: dict[str, str], timeout_s: float) -> None:
    with suppress(ImportError):  # Python may be built without it: then lines cannot be edited
        import readline  # noqa: F401, PLC0415  # it changes `input` by being imported

    progress("read-only; statements end with a semicolon, and exit or Ctrl-D leaves")

    def ask(text: str) -> None:
        with suppress(typer.Exit):  # it has said what went wrong
            answer(access, Statement(sql=text, parameters=parameters), Format.TABLE, None, timeout_s)

    Shell(input, ask).run()

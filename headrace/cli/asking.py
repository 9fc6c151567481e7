"""What `headrace report` and `headrace sql` share: options, and the way from a statement to its result."""

from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.console import fail
from headrace.cli.read_access import ReadAccess, reading
from headrace.cli.results import Format, Statement, write_result
from streams.errors import ConfigurationError, HeadraceError

WRONG_USE = 2
_FAILED = 1
DEFAULT_TIMEOUT_S = 60.0

AsFormat = Annotated[Format, typer.Option("--format", "-f", help="How the result is written.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="A file for the result; by default it goes to stdout.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that the query may take.")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="name=value: any other parameter. Repeat it for more."),
]


def answer(
    access: ReadAccess, statement: Statement, output_format: Format, output: Path | None, timeout_s: float
) -> None:
    """Ask ClickHouse and write the result.

    Raises:
        typer.Exit: with code 1 where there is no answer, after saying why; with 2 where an option is wrong.
    """
    try:
        with reading(access, timeout_s=timeout_s) as client:
            write_result(client, statement, output_format, output)
    except ConfigurationError as fault:
        fail(str(fault))
        raise typer.Exit(WRONG_USE) from fault
    except HeadraceError as fault:
        fail(str(fault))
        raise typer.Exit(_FAILED) from fault


def parameters_of(pairs: list[str]) -> dict[str, Any]:
    """Return the parameters that ``name=value`` pairs give.

    Raises:
        ConfigurationError: a pair has no ``=``, or a name is given twice.
    """
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--param {pair!r} must be name=value")
        if name in given:
            raise ConfigurationError(f"--param {name} is given twice")
        given[name] = value
    return given

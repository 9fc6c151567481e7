"""Options and exit codes that `headrace report` and `headrace sql` share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.console import fail
from headrace.cli.queries.results import Format
from streams.errors import ConfigurationError, HeadraceError, InputError

_FAILED = 1
_WRONG_USE = 2
DEFAULT_TIMEOUT_S = 60.0

AsFormat = Annotated[Format, typer.Option("--format", "-f", help="Format of the result.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File for the result. Default: standard output.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that the query may take.")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="Any other parameter, as name=value. Can be repeated."),
]


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
    """Return the parameters that ``name=value`` pairs give.

    Raises:
        ConfigurationError: a pair has no ``=``, or a name is given twice.
    """
    given: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--param {pair!r} must be name=value")
        if name in given:
            raise ConfigurationError(f"--param {name} is given twice")
        given[name] = value
    return given

"""`headrace report`: the questions of the query catalogue."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.markup import escape

from analytics.reports.catalogue import Catalogue, Query, UnknownQuery
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
from headrace.cli.console import fail, out, print_json
from headrace.cli.options import DEFAULT_DATA_DIR, DataDir
from headrace.cli.read_access import read_access
from headrace.cli.results import Format, Statement
from streams.errors import ConfigurationError, InputError

_LIST = "list"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    name: Annotated[str, typer.Argument(help="The question, e.g. cost_by_model; or: list.")],
    since: Annotated[
        str | None,
        typer.Option(help="From when on: 24h, 7d ago, or a time such as 2026-11-21T08:00Z. Default: 7d."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Until when, likewise. Default: now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only. Default: of all.")] = None,
    limit: Annotated[int | None, typer.Option(help="The most rows, where the question has a limit.")] = None,
    param: Params = None,
    output_format: AsFormat = Format.TABLE,
    output: Output = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what the question takes and returns, and its SQL; do not ask."),
    ] = False,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Answer a question about cost, latency, errors, cache, guardrails, quality or one request.

    `headrace report list` names all questions; `headrace report NAME --explain` says what one counts. Times
    without a zone are UTC, as all days are. Only ClickHouse is asked, as a reader.

    Exit code 0: answered. 1: ClickHouse did not. 2: there is no such question, or an option is wrong.
    """
    try:
        catalogue = Catalogue.load()
        if name == _LIST:
            _show_list(catalogue, output_format)
            return
        query = catalogue.get(name)
        if explain:
            _explain(query)
            return
        options = {"since": since, "until": until, "tenant": tenant, "limit": limit}
        given = {key: value for key, value in options.items() if value is not None}
        bound = query.bind(_merged(given, parameters_of(param or [])))
        access = read_access(data_dir)
    except UnknownQuery as fault:
        fail(f"{fault}; `headrace report list` names all of them")
        raise typer.Exit(WRONG_USE) from fault
    except (InputError, ConfigurationError) as fault:
        fail(str(fault))
        raise typer.Exit(WRONG_USE) from fault
    answer(access, Statement(sql=bound.sql, parameters=bound.parameters), output_format, output, timeout_s)


def _merged(options: Mapping[str, object], params: Mapping[str, object]) -> dict[str, object]:
    twice = sorted(options.keys() & params.keys())
    if twice:
        raise ConfigurationError(f"{twice[0]} is given twice: as --{twice[0]} and as --param")
    return {**options, **params}


def _show_list(catalogue: Catalogue, output_format: Format) -> None:
    if output_format is Format.JSON:
        print_json(list(catalogue))
        return
    if output_format is not Format.TABLE:
        raise ConfigurationError("the list comes as --format table or json")
    width = max(len(name) for name in catalogue.names())
    group = ""
    for query in catalogue:
        if query.group != group:
            group = query.group
            out.print(f"[bold]{group}[/bold]")
        out.print(f"  {query.name:<{width}}  {escape(query.title)}")


def _explain(query: Query) -> None:
    out.print(f"[bold]{escape(query.title)}[/bold]  ({query.name})")
    out.print(query.description, markup=False)
    out.print("\n[bold]takes[/bold]")
    for parameter in query.parameters:
        default = "required" if parameter.default is None else f"default {parameter.default or 'empty'}"
        out.print(f"  {parameter.name}  {parameter.doc} ({default})", markup=False)
    out.print("\n[bold]returns[/bold]")
    for column in query.columns:
        out.print(f"  {column.name} [{column.unit}]  {column.doc}", markup=False)
    out.print("\n[bold]SQL[/bold]")
    out.print(query.sql, markup=False)

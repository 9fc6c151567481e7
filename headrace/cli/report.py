"""`headrace report`: the questions of the query catalogue."""

from typing import Annotated

import typer
from rich.markup import escape

from analytics.reports.catalogue import Catalogue
from analytics.reports.query import Query, UnknownQuery
from headrace.cli.connection import clickhouse_to_read
from headrace.cli.console import DEFAULT_DATA_DIR, DataDir, out, print_json
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

_LIST = "list"


app = typer.Typer()


@app.command(epilog="Example: headrace report cost_by_model --since 24h --format csv -o cost.csv")
def report(
    name: Annotated[str, typer.Argument(help="The question, e.g. cost_by_model. Or: list.")],
    since: Annotated[
        str | None, typer.Option(help="Begin: 24h, 7d ago, or a time such as 2026-11-21T08:00Z. Default: 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="End, in the same form. Default: now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant. Default: all.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Maximum number of rows, where the question has a limit.")
    ] = None,
    param: Params = None,
    output_format: AsFormat = Format.TABLE,
    output: Output = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show the question's parameters, columns and SQL, without asking it."),
    ] = False,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Answer a question about cost, latency, errors, cache, guardrails, quality or one request.

    `headrace report list` names all questions; `headrace report NAME --explain` says what one counts. Times
    without a zone are UTC, and so are days. The command only reads ClickHouse.

    Exit code 0: answered. 1: ClickHouse failed. 2: there is no such question, or an option is wrong.
    """
    with query_faults():
        catalogue = Catalogue.load()
        if name == _LIST:
            _show_list(catalogue, output_format)
            return
        question = _question(catalogue, name)
        if explain:
            _explain(question)
            return
        options = {"since": since, "until": until, "tenant": tenant, "limit": limit}
        given = {key: value for key, value in options.items() if value is not None}
        parameters = parameters_of(param)
        for twice in sorted(given.keys() & parameters.keys()):
            raise ConfigurationError(f"{twice} is given twice: as --{twice} and as --param")
        bound = question.bind({**given, **parameters})
        source = clickhouse_to_read(data_dir)
        query(bound, output_format, output, source=source, timeout_s=timeout_s)


def _question(catalogue: Catalogue, name: str) -> Query:
    try:
        return catalogue.get(name)
    except UnknownQuery as fault:
        raise ConfigurationError(f"{fault}; `headrace report list` names all of them") from fault


def _show_list(catalogue: Catalogue, output_format: Format) -> None:
    if output_format is Format.JSON:
        print_json(list(catalogue))
        return
    if output_format is not Format.TABLE:
        raise ConfigurationError("the list comes as --format table or json")
    width = max(len(name) for name in catalogue.names())
    group = ""
    for question in catalogue:
        if question.group != group:
            group = question.group
            out.print(f"[bold]{group}[/bold]")
        out.print(f"  {question.name:<{width}}  {escape(question.title)}")


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

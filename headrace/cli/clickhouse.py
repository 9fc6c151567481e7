"""`headrace report` and `headrace sql`: ClickHouse as an analyst sees it, from the command line."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import typer
from rich.markup import escape

from analytics.reports.catalogue import Catalogue
from analytics.reports.query import Bound, Query, UnknownQuery
from headrace.cli import queries
from headrace.cli.console import DEFAULT_DATA_DIR, DataDir, out, print_json, progress
from headrace.up.environment import clickhouse_to_read
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
    param: queries.Params = None,
    output_format: queries.AsFormat = queries.Format.TABLE,
    output: queries.Output = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show the question's parameters, columns and SQL, without asking it."),
    ] = False,
    timeout_s: queries.Timeout = queries.DEFAULT_TIMEOUT_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Answer a question about cost, latency, errors, cache, guardrails, quality or one request.

    `headrace report list` names all questions; `headrace report NAME --explain` says what one counts. Times
    without a zone are UTC, and so are days. The command only reads ClickHouse.

    Exit code 0: answered. 1: ClickHouse failed. 2: there is no such question, or an option is wrong.
    """
    with queries.query_faults():
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
        parameters = queries.parameters_of(param)
        for twice in sorted(given.keys() & parameters.keys()):
            raise ConfigurationError(f"{twice} is given twice: as --{twice} and as --param")
        bound = question.bind({**given, **parameters})
        source = clickhouse_to_read(data_dir)
        queries.query(bound, output_format, output, source=source, timeout_s=timeout_s)


def _question(catalogue: Catalogue, name: str) -> Query:
    try:
        return catalogue.get(name)
    except UnknownQuery as fault:
        raise ConfigurationError(f"{fault}; `headrace report list` names all of them") from fault


def _show_list(catalogue: Catalogue, output_format: queries.Format) -> None:
    if output_format is queries.Format.JSON:
        print_json(list(catalogue))
        return
    if output_format is not queries.Format.TABLE:
        raise ConfigurationError("the list comes as --format table or json")
    width = max(len(name) for name in catalogue.names())
    group = ""
    for question in catalogue:
        if question.group != group:
            group = question.group
            out.print(f"[bold]{group}[/bold]")
        out.print(f"  {question.name:<{width}}  {escape(question.title)}")


def _explain(question: Query) -> None:
    out.print(f"[bold]{escape(question.title)}[/bold]  ({question.name})")
    out.print(question.description, markup=False)
    out.print("\n[bold]takes[/bold]")
    for parameter in question.parameters:
        default = "required" if parameter.default is None else f"default {parameter.default or 'empty'}"
        out.print(f"  {parameter.name}  {parameter.doc} ({default})", markup=False)
    out.print("\n[bold]returns[/bold]")
    for column in question.columns:
        out.print(f"  {column.name} [{column.unit}]  {column.doc}", markup=False)
    out.print("\n[bold]SQL[/bold]")
    out.print(question.sql, markup=False)


_PROMPT, _CONTINUED = "headrace> ", "      ... "
_WORDS_TO_LEAVE = frozenset({"exit", "quit", "\\q", "exit;", "quit;"})


def run_shell(read: Callable[[str], str], ask: Callable[[str], None]) -> None:
    """Read statements, each up to a semicolon at the end of a line, and ask them one by one.

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


@app.command(epilog='Example: headrace sql "SELECT status, count() FROM requests GROUP BY status"')
def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            help="One statement. Without it: an interactive shell on a terminal, else standard input."
        ),
    ] = None,
    param: queries.Params = None,
    output_format: queries.AsFormat = queries.Format.TABLE,
    output: queries.Output = None,
    timeout_s: queries.Timeout = queries.DEFAULT_TIMEOUT_S,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Query ClickHouse in SQL. Nothing can be written.

    The views requests, stages, llm_calls, scores and payloads hold each record once, however often it was
    delivered. Write a value as {name:Type} in the statement and give it with --param name=value.

    Exit code 0: answered. 1: ClickHouse failed. 2: an option is wrong.
    """
    with queries.query_faults():
        parameters = queries.parameters_of(param)
        source = clickhouse_to_read(data_dir)

        def ask(text: str) -> None:
            queries.query(Bound(text, parameters), output_format, output, source=source, timeout_s=timeout_s)

        if statement is not None or not sys.stdin.isatty():
            text = sys.stdin.read() if statement is None else statement
            if not text.strip().rstrip(";").strip():
                raise ConfigurationError("there is no statement, neither as an argument nor on stdin")
            ask(text)
        elif output is not None or output_format is not queries.Format.TABLE:
            raise ConfigurationError("the shell shows tables: give a statement with --format and --output")
        else:
            _run_interactively(ask)


def _run_interactively(ask: Callable[[str], None]) -> None:
    with suppress(ImportError):  # Python may be built without it: then lines cannot be edited
        import readline  # noqa: F401, PLC0415  # it changes `input` by being imported

    def ask_and_go_on(text: str) -> None:
        with suppress(typer.Exit), queries.query_faults():
            ask(text)

    progress("read-only; statements end with a semicolon, and exit or Ctrl-D leaves")
    run_shell(input, ask_and_go_on)

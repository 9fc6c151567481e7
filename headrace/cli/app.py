"""The command line: which module each command is in, and which of them are loaded."""

from collections.abc import Sequence
from importlib import import_module

import typer

from streams.telemetry import configure_logging

#: The long-running processes load no other command's module: a worker that restarts should not wait for
#: the imports of `headrace up`.
_PROCESSES = ("ingest", "worker", "analytics")
_MODULES = "up send topics control keys dlq audit clickhouse privacy processes".split()


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line, with the commands that `arguments` may mean."""
    app = typer.Typer(
        name="headrace",
        help=(
            "An event-streaming pipeline for LLM requests on Kafka, Faust, Redis and ClickHouse.\n\n"
            "Start with `headrace up`: it runs everything on this machine and sends a demo request. Then "
            'try `headrace send "What is Kafka?"`, look at `headrace status`, and stop it with '
            "`headrace down`."
        ),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # Warnings go to stderr: what a command prints on stdout may be JSON for a machine.
    app.callback()(lambda: configure_logging("WARNING", "console"))
    for name in ("processes",) if arguments and arguments[0] in _PROCESSES else _MODULES:
        app.add_typer(import_module(f"headrace.cli.{name}").app)
    return app

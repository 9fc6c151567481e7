"""The commands, each in a module of its own."""

import typer

from headrace.cli import processes, send, status, topics, up

app = typer.Typer(
    name="headrace",
    help=(
        "An event-streaming pipeline for LLM requests on Kafka, Faust, Redis and ClickHouse.\n\n"
        "Start with `headrace up`: it runs everything on this machine and sends a demo request. Then try "
        '`headrace send "What is Kafka?"`, look at `headrace status`, and stop it with `headrace down`.'
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
up.add_to(app)
status.add_to(app)
send.add_to(app)
topics.add_to(app)
processes.add_to(app)

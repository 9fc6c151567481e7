"""`headrace topics …`."""

import asyncio

import typer

from headrace.cli.console import AsJson, out, print_json
from streams.kafka.topic_admin import create_topics
from streams.settings import load_settings

app = typer.Typer(name="topics", help="Kafka topics.", no_args_is_help=True)


@app.command(epilog="Example: HEADRACE_KAFKA_BOOTSTRAP=kafka:9092 headrace topics create")
def create(as_json: AsJson = False) -> None:
    """Create the missing topics on HEADRACE_KAFKA_BOOTSTRAP. It can be repeated."""
    settings = load_settings()
    created = asyncio.run(
        create_topics(
            settings.kafka_bootstrap,
            partitions=settings.topic_partitions,
            replication=settings.topic_replication,
            extra=settings.reply_topics,
        )
    )
    if as_json:
        print_json({"created": created})
    elif created:
        out.print("created " + ", ".join(created))
    else:
        out.print("every topic exists already")

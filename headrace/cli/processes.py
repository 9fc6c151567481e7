"""`headrace ingest`, `headrace worker`, `headrace analytics`: one process each."""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from streams.pipeline import WORKER_CONSUMERS
from streams.settings import load_settings
from streams.telemetry import configure_logging

#: Names of what a worker can run.
_CONSUMERS = [spec.name for spec in WORKER_CONSUMERS]
#: The event loop shares the interpreter with the threads that embed and check texts: with Python's default of
#: 5 ms it would wait for them.
_SWITCH_INTERVAL_S = 0.0002
#: Requests make short-lived objects, few of them in cycles. Python's default looks for cycles every 700
#: allocations: several times a request.
_GC_THRESHOLDS = (50_000, 20, 20)

app = typer.Typer()


@app.command(epilog="Example: HEADRACE_INGEST_PORT=8000 headrace ingest")
def ingest() -> None:
    """Run the HTTP API. It publishes requests to Kafka, and waits for replies or streams them.

    Settings come from HEADRACE_… variables; .env.example lists them.
    """
    from analytics.reports.catalogue import Catalogue  # noqa: PLC0415  # each process loads only what it runs
    from ingest.main import serve  # noqa: PLC0415  # as above

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    gc.set_threshold(*_GC_THRESHOLDS)
    serve(settings, Catalogue.load().bind)


@app.command(epilog="Example: headrace worker llm output")
def worker(
    stages: Annotated[
        list[str] | None, typer.Argument(help=f"Stages to run: {', '.join(_CONSUMERS)}. Default: all.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="File to create when every stage has its partitions.")
    ] = None,
    standby_fd: Annotated[
        int | None,
        typer.Option(
            help="Load everything, then wait for a byte on this file descriptor before joining the consumer "
            "groups; exit if it is closed without one. For supervisors that keep a standby worker."
        ),
    ] = None,
) -> None:
    """Run stages of the pipeline as Faust agents, one consumer group per stage.

    Workers with different stages may run side by side: `headrace worker llm` scales only the model calls. At
    least one worker must run `retries`, which brings records back from the retry topic. Give each replica its
    own stable HEADRACE_INSTANCE_ID, and a HEADRACE_WORKER_PORT to serve /live, /ready and /metrics.
    """
    unknown = sorted(set(stages or ()) - set(_CONSUMERS))
    if unknown:
        raise typer.BadParameter(f"unknown stage {unknown[0]!r}; known stages: {', '.join(_CONSUMERS)}")
    from agents.bootstrap import run_worker  # noqa: PLC0415  # as above
    from agents.worker_ports import Loaded, load_all, wait_for_word  # noqa: PLC0415  # as above

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(*_GC_THRESHOLDS)
    loaded = Loaded()
    if standby_fd is not None:
        loaded = load_all(settings)
        if not wait_for_word(standby_fd):
            return
    consumers = [spec for spec in WORKER_CONSUMERS if not stages or spec.name in stages]

    def on_ready() -> None:
        gc.freeze()  # what is loaded by now stays: no collection needs to look at it
        if ready_file:
            ready_file.touch()

    uvloop.run(run_worker(settings, consumers, loaded=loaded, on_ready=on_ready))


@app.command(epilog="Example: headrace analytics")
def analytics() -> None:
    """Apply the schema's migrations, then run the ClickHouse sink and the analysts' API."""
    from analytics.main import serve  # noqa: PLC0415  # as above

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    serve(settings)

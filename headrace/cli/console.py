"""What commands share: options, questions, and what they print.

Colours appear only on a terminal, and stdout has nothing but results: they may be JSON for a program.
"""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from streams.errors import HeadraceError
from streams.telemetry import without_credentials
from streams.times import EPOCH, parse_moment

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="HEADRACE_DATA_DIR",
        help="Folder of `headrace up`: its data, logs, keys and endpoints.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

DEFAULT_DATA_DIR = Path(".headrace")

#: Results. Rich drops colours by itself where stdout is not a terminal, or NO_COLOR is set.
out = Console(highlight=False, soft_wrap=True)
#: Progress and errors.
err = Console(stderr=True, highlight=False, soft_wrap=True)


class NotConfirmed(HeadraceError):
    """The user did not agree, or nobody could be asked."""


def progress(message: str) -> None:
    """Say what is going on."""
    err.print(without_credentials(message), style="dim", markup=False)


def fail(message: str) -> None:
    """Say what went wrong and what to change."""
    err.print("error:", style="bold red", end=" ")
    err.print(without_credentials(message), markup=False)


def print_json(document: Any) -> None:
    """Write a document to stdout for programs: whatever `msgspec` can encode, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def confirm(question: str, *, unattended: str, details: str = "") -> None:
    """Ask a question on the terminal. Raises `NotConfirmed`: the answer is no, or there is no terminal."""
    if not sys.stdin.isatty():
        raise NotConfirmed(unattended)
    sys.stderr.write(details)
    if not typer.confirm(question, err=True):
        raise NotConfirmed("nothing was done")


def parse_time_option(text: str, *, now: datetime | None = None) -> datetime:
    """Return the time that an option names: an age such as 2h, or a time in ISO 8601 from 1970 on."""
    with suppress(ValueError):
        at = parse_moment(text, now=now or datetime.now(UTC))
        if at >= EPOCH:
            return at
    raise typer.BadParameter(f"{text!r} is no time: write 90s, 30m, 2h or 7d (ago), or 2026-11-21T08:00:00Z")


#: Declares an option that is a time.
time_option = partial(typer.Option, parser=parse_time_option, metavar="TIME")

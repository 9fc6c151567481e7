"""Options that several commands share."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from streams.times import FIRST, parse_moment

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="HEADRACE_DATA_DIR",
        help="Folder for data, logs, keys and endpoints of `headrace up`.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

DEFAULT_DATA_DIR = Path(".headrace")


def parse_time_option(text: str, option: str, *, now: datetime) -> datetime:
    """Return the time that an option names: an age such as 2h, or a time in ISO 8601.

    Raises:
        typer.BadParameter: it is neither, or lies before 1970.
    """
    with suppress(ValueError):
        at = parse_moment(text, now=now)
        if at >= FIRST:
            return at
    raise typer.BadParameter(
        f"{text!r} is no time: write 90s, 30m, 2h or 7d (ago), or 2026-11-21T08:00:00Z", param_hint=option
    )

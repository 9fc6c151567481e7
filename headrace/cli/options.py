"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.up.home import Home

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


def home(data_dir: Path) -> Home:
    """Return the folder that a command works on."""
    return Home(data_dir)

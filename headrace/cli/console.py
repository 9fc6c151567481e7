"""What commands print: colours only on a terminal, machine-readable output only on stdout."""

import sys
from typing import Any

import msgspec
from rich.console import Console

from streams.telemetry import without_credentials

#: Results. Rich drops colours by itself where stdout is not a terminal, or NO_COLOR is set.
out = Console(highlight=False, soft_wrap=True)
#: Progress and errors.
err = Console(stderr=True, highlight=False, soft_wrap=True)


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

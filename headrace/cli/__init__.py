"""The command line."""

import sys

from headrace.cli.app import app
from headrace.cli.console import fail
from streams.errors import HeadraceError


def main() -> None:
    """Run a command; what goes wrong on purpose is one clear message, not a traceback."""
    try:
        app()
    except HeadraceError as fault:
        fail(str(fault))
        sys.exit(1)


__all__ = ["main"]

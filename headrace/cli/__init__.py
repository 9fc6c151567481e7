"""The command line: one module per command, or for a few that belong together. Begin with `app`."""

import sys

from headrace.cli.app import build_app
from streams.errors import HeadraceError


def main() -> None:
    """Run a command; what goes wrong on purpose is one clear message, not a traceback."""
    try:
        build_app(sys.argv[1:])()
    except HeadraceError as fault:
        sys.stderr.write(f"error: {fault}\n")
        sys.exit(1)


__all__ = ["main"]

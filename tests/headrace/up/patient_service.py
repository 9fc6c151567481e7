"""A service as `headrace.up` runs it: it begins at once, or once a byte comes on `--standby-fd`.

Its first argument is a file that it appends its pid to when it begins.
"""

import argparse
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Begin, and run on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("begun", type=Path)
    parser.add_argument("--standby-fd", type=int)
    options = parser.parse_args()
    if options.standby_fd is not None and not os.read(options.standby_fd, 1):
        sys.exit(0)
    with options.begun.open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    time.sleep(600)


if __name__ == "__main__":
    main()

"""`python -m headrace.grafana FOLDER`: write the dashboards there, one file each."""

import sys
from pathlib import Path

import msgspec

from analytics.reports.catalogue import Catalogue
from headrace.grafana.dashboards import DASHBOARDS, dashboard_json


def files(catalogue: Catalogue) -> dict[str, bytes]:
    """Return the content of each file by its name."""
    return {
        f"{dashboard.uid}.json": msgspec.json.format(
            msgspec.json.encode(dashboard_json(dashboard, catalogue)), indent=2
        )
        + b"\n"
        for dashboard in DASHBOARDS
    }


def main(arguments: list[str]) -> int:
    """Write the files, and return the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m headrace.grafana FOLDER\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files(Catalogue.load()).items():
        (folder / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

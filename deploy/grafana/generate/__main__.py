"""Write the dashboards, one file each: `python -m deploy.grafana.generate`, from the repository's root."""

import argparse
from pathlib import Path

import msgspec

from analytics.reports.catalogue import Catalogue
from deploy.grafana.generate.dashboards import DASHBOARDS, dashboard_json

_FOLDER = Path(__file__).parents[1] / "dashboards"


def files(catalogue: Catalogue) -> dict[str, bytes]:
    """Return the content of each file by its name."""
    return {
        f"{dashboard.uid}.json": msgspec.json.format(
            msgspec.json.encode(dashboard_json(dashboard, catalogue)), indent=2
        )
        + b"\n"
        for dashboard in DASHBOARDS
    }


def main(arguments: list[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana.generate", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=_FOLDER, help="default: %(default)s")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files(Catalogue.load()).items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()

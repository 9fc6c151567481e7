"""`/analytics`: the analysts' page, from files of this package. It needs no key: it asks its user for one."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from streams.serving.responses import ASK_EACH_TIME, PageFile, page_file, page_files, sender

log = structlog.get_logger(__name__)

#: What is under an address with its version in it never changes: a year, the longest that caches know.
_FOR_EVER: Final = "public, max-age=31536000, immutable"
PATH: Final = "/analytics"
ASSETS: Final = f"{PATH}/assets"

#: The package that carries the charting library, which is uPlot as its author published it. The page states
#: the hashes of both files, and a browser runs nothing else under these names: docs/decisions/0006-charts.md.
_CARRIER: Final = "youplot"
CHART_FILES: Final = ("uplot.iife.min.js", "uplot.min.css")


def files_of_page() -> tuple[PageFile, ...]:
    """Read the files of the page, and those of the charting library where it is installed."""
    return *page_files(files("analytics").joinpath("web")), *_chart_files()


def page_version(found: Sequence[PageFile]) -> str:
    """Return what tells these files from those of any other version of the page."""
    return hashlib.sha256("".join(file.etag for file in found).encode()).hexdigest()[:12]


def _chart_files() -> Iterator[PageFile]:
    """Read uPlot. Without it the page shows its figures as tables."""
    try:
        carrier = distribution(_CARRIER)  # found and not imported: none of its code is wanted
        for name in CHART_FILES:
            path = Path(str(carrier.locate_file(f"{_CARRIER}/vendor/{name}")))
            yield page_file(name, path.read_bytes())
    except (PackageNotFoundError, OSError) as fault:
        log.warning("page.no_charts", package=_CARRIER, error=str(fault))


def page_router() -> APIRouter:
    """Return the routes of the page: `/analytics` is `index.html`, its parts are under `…/assets/VERSION/`.

    There is one route a file, so no path from outside ever becomes a path on the disk. A browser keeps the
    parts of a version for good, and after an upgrade asks for those of the other one: never half of each.
    """
    router = APIRouter(include_in_schema=False)
    found = files_of_page()
    version = page_version(found)

    def kept(request: Request) -> str:
        return _FOR_EVER if request.path_params["version"] == version else ASK_EACH_TIME

    for file in found:
        if file.name == "index.html":
            versioned = file.body.replace(f"{ASSETS}/".encode(), f"{ASSETS}/{version}/".encode())
            router.add_api_route(PATH, sender(page_file(file.name, versioned)), methods=["GET", "HEAD"])
        else:
            # Another replica may be a version ahead: it gets the part that there is, not to be kept.
            path = f"{ASSETS}/{{version}}/{file.name}"
            router.add_api_route(path, sender(file, kept), methods=["GET", "HEAD"])
    router.add_api_route("/", _to_page, methods=["GET", "HEAD"])
    return router


async def _to_page() -> Response:
    return RedirectResponse(PATH, status_code=307, headers={"Cache-Control": ASK_EACH_TIME})

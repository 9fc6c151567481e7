"""The FastAPI application of the analytics process, and its OpenAPI document. It opens no connections.

Each query of the catalogue is a path of its own in the document.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import structlog
from fastapi import APIRouter, FastAPI, Request
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.responses import RedirectResponse, Response

from analytics.api.dependencies import Analysts
from analytics.api.health import Ping, health_router
from analytics.api.live import LivePipeline, live_router
from analytics.api.queries import OTHER_TYPES, QUERY_ERRORS
from analytics.api.queries import router as queries_router
from analytics.reports.query import ARROW, FORMATS, Query, QueryParameter
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.serving.fastapi_errors import answer_wrong_parameters, describe_errors, errors
from streams.serving.middleware import RequestFrame, answer_faults, answer_options
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


#: Below this, the headers are most of a response.
_LEAST_GZIP_BYTES = 1024
#: Level 4 is three times as fast as 6, and its output some 5 % larger on figures.
_GZIP_LEVEL = 4
_EXPOSED_HEADERS = ("X-Request-ID", "Retry-After", "Content-Disposition")


def create_app(
    status: SinkStatus,
    ping: Ping,
    analysts: Analysts | None = None,
    *,
    watch: WatchStatus | None = None,
    feedback: FeedbackStatus | None = None,
    live: LivePipeline | None = None,
    cors_origins: Sequence[str] = (),
    signed: bool = True,
) -> FastAPI:
    """Return the app."""
    app = FastAPI(
        title="Headrace analytics",
        description="The query catalogue over HTTP. Errors are OpenAI's error object.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send clients to whatever Host they name
    )
    app.include_router(health_router(status, ping, watch, feedback, signed=signed))
    if analysts is not None:
        app.state.analysts = analysts
        app.include_router(queries_router)
        app.include_router(page_router())
        if live is not None:
            app.include_router(live_router(live))
    describe(app, () if analysts is None else analysts.service.catalogue)
    answer_faults(app, described_at="/openapi.json")
    answer_wrong_parameters(app)
    answer_options(app, cors_origins, methods=("GET",), exposed=_EXPOSED_HEADERS)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=_LEAST_GZIP_BYTES,
        compresslevel=_GZIP_LEVEL,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, ARROW.media_type),
    )
    # The last one added is the outermost: it sees preflights too.
    app.add_middleware(RequestFrame, logger="analytics.reports.query_service")
    return app


#: JSON's types of parameters that are no text, and how their defaults are read.
_NUMBERS: Final[Mapping[str, tuple[str, Callable[[str], int | float]]]] = {
    "UInt32": ("integer", int),
    "Float64": ("number", float),
}
_ANY_QUERY: Final = "/v1/analytics/queries/{name}/rows"


def describe(app: FastAPI, queries: Iterable[Query]) -> None:
    """Add the queries and all errors to the application's OpenAPI document."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            for query in queries:
                security = document["paths"][_ANY_QUERY]["get"]["security"]
                operation = {**_operation(query), "security": security}
                document["paths"][_ANY_QUERY.format(name=query.name)] = {"get": operation}
            describe_errors(document)
        return original()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(query: Query) -> dict[str, Any]:
    return {
        "tags": [query.group],
        "summary": query.title,
        "description": query.description,
        "operationId": f"query_{query.name}",
        "parameters": [*(_parameter(each) for each in query.parameters), _FORMAT],
        "responses": {
            "200": {"description": "the rows", "content": _content(query)},
            **{str(status): words for status, words in errors(403, 406, *QUERY_ERRORS).items()},
        },
    }


def _parameter(parameter: QueryParameter) -> dict[str, Any]:
    kind, read = _NUMBERS.get(parameter.type, ("string", str))
    schema: dict[str, Any] = {"type": kind}
    if parameter.low is not None:
        schema["minimum"] = parameter.low
    if parameter.high is not None:
        schema["maximum"] = parameter.high
    if parameter.choices:
        schema["enum"] = parameter.choices
    if parameter.default is not None:
        schema["default"] = read(parameter.default)
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.default is None,
        "description": parameter.doc,
        "schema": schema,
    }


def _content(query: Query) -> dict[str, Any]:
    columns = {column.name: {"description": f"{column.doc} ({column.unit})"} for column in query.columns}
    body = {
        "type": "object",
        "required": ["query", "parameters", "columns", "rows"],
        "properties": {
            "query": {"const": query.name},
            "parameters": {"type": "object"},
            "columns": {"type": "array", "items": {"type": "object"}},
            "rows": {"type": "array", "items": {"type": "object", "properties": columns}},
        },
    }
    return {"application/json": {"schema": body}, **OTHER_TYPES}


_FORMAT: Final = {
    "name": "format",
    "in": "query",
    "required": False,
    "description": "goes before the header Accept",
    "schema": {"type": "string", "enum": list(FORMATS), "default": "json"},
}

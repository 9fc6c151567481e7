"""The FastAPI application of the analytics process, and its OpenAPI document. It opens no connections.

Each query of the catalogue is a path of its own in the document.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from analytics.api.dependencies import Analysts
from analytics.api.health import Ping, health_router
from analytics.api.live import LivePipeline, live_router
from analytics.api.page import page_router
from analytics.api.queries import OTHER_TYPES, QUERY_ERRORS
from analytics.api.queries import router as queries_router
from analytics.reports.query import Query, QueryParameter
from analytics.reports.result_formats import ARROW, FORMATS
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.serving.fastapi_errors import answer_wrong_parameters, describe_errors, errors
from streams.serving.middleware import RequestFrame, answer_faults, answer_options

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

"""The FastAPI application of the analytics process. It opens no connections."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from analytics.api import queries
from analytics.api.dependencies import Analysts
from analytics.api.health import Ping, health_router
from analytics.api.live import live_router
from analytics.api.openapi import describe
from analytics.api.page import page_router
from analytics.live.pipeline import LivePipeline
from analytics.reports.result_formats import ARROW
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.serving.fastapi_errors import answer_wrong_parameters
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
        app.include_router(queries.router)
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

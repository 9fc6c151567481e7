"""The FastAPI application: routers, error handlers, middleware. It opens no connections."""

from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Request
from starlette.responses import Response

from ingest import feedback
from ingest.admin import routes as admin
from ingest.anthropic import messages
from ingest.anthropic.schema import MessagesBody
from ingest.batches import routes as batches
from ingest.errors import anthropic_error_body, as_api_error, speaks_anthropic
from ingest.feedback import FeedbackBody
from ingest.native import chat, requests
from ingest.native.chat import page_router
from ingest.native.schema import ChatBody, SubmitBody
from ingest.openai import chat_completions, embeddings, models
from ingest.openai.chat_schema import CompletionBody
from ingest.openai.embeddings import EmbeddingsBody
from ingest.openapi import describe
from ingest.services import Services
from ingest.submit.http_message import CACHE_KIND_HEADER, MODEL_HEADER
from streams.errors import HeadraceError, InputError, TransientFault
from streams.events import ErrorInfo
from streams.serving.errors import REPLAYED, error_body
from streams.serving.fastapi_errors import answer_wrong_parameters
from streams.serving.middleware import RequestFrame, answer_faults, answer_options
from streams.serving.responses import JsonResponse

log = structlog.get_logger(__name__)

_METHODS = ("GET", "POST", "DELETE")
_EXPOSED_HEADERS = (
    *("X-Request-ID", "request-id", "Retry-After", "Location", "x-should-retry", "Age"),
    *(CACHE_KIND_HEADER, MODEL_HEADER, *REPLAYED),
)
_NATIVE = (chat, requests, batches, feedback, admin)
_BODIES = (ChatBody, SubmitBody, CompletionBody, MessagesBody, EmbeddingsBody, FeedbackBody)
_COMPATIBLE = (chat_completions, embeddings, models, messages)


def create_app(services: Services) -> FastAPI:
    """Return the application that works with these services."""
    app = FastAPI(
        title="Headrace",
        description="An event-streaming pipeline for LLM requests. Errors are OpenAI's error object, "
        "and Anthropic's on the routes of its API.",
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name whatever Host the client sent
    )
    app.state.services = services
    for module in (*_NATIVE, *_COMPATIBLE):
        app.include_router(module.router)
    app.include_router(page_router())
    answer_faults(app, described_at="/docs", render=_error)
    for kind in (InputError, TransientFault):
        app.add_exception_handler(kind, _on_fault)
    answer_wrong_parameters(app, render=_error)
    answer_options(
        app, services.settings.cors_origins, methods=_METHODS, exposed=_EXPOSED_HEADERS, render=_error
    )
    # The last one added is the outermost: it sees preflights too.
    app.add_middleware(RequestFrame, logger="ingest.access", render=_error)
    describe(app, _BODIES)
    return app


async def _on_fault(request: Request, fault: Exception) -> Response:
    """Answer a sender's mistake, or the outage of a dependency, that a route did not handle."""
    if not isinstance(fault, HeadraceError):
        raise fault
    error = as_api_error(fault)
    if isinstance(fault, TransientFault):
        # The client does not get these words: they name addresses.
        log.warning("ingest.dependency_unavailable", request_id=request.state.request_id, error=str(fault))
    return _error(request, error.status, error.error, error.headers)


def _error(request: Request, status: int, error: ErrorInfo, headers: Mapping[str, str]) -> Response:
    """Return the error object of the API that the request speaks."""
    request_id, repeat = request.state.request_id, REPLAYED.items() <= headers.items()
    if not speaks_anthropic(request):
        return JsonResponse(error_body(error, request_id, repeat=repeat), status, headers)
    body = anthropic_error_body(error, request_id, status=status, repeat=repeat)
    return JsonResponse(body, status, {**headers, "request-id": request_id})

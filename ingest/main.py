"""The process `headrace ingest`."""

import asyncio
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from starlette.responses import Response

from ingest import feedback
from ingest.admin import control
from ingest.admin import routes as admin
from ingest.admin.control import ChangeBody, KeyBody, ReasonBody
from ingest.admin.spend import BindQuery
from ingest.anthropic import messages
from ingest.anthropic.schema import MessagesBody
from ingest.batches import routes as batches
from ingest.errors import anthropic_error_body, as_api_error, is_anthropic_route, speaks_anthropic
from ingest.feedback import FeedbackBody
from ingest.native import chat, requests
from ingest.native.chat import page_router
from ingest.native.schema import ChatBody, SubmitBody
from ingest.openai import chat_completions, embeddings, models
from ingest.openai.chat_schema import CompletionBody
from ingest.openai.embeddings import EmbeddingsBody
from ingest.openapi import describe
from ingest.services import Services, connected_services
from ingest.submit.http_message import CACHE_KIND_HEADER, MODEL_HEADER
from streams.errors import ConfigurationError, HeadraceError, InputError, TransientFault
from streams.events import ErrorInfo
from streams.serving.fastapi_errors import answer_wrong_parameters
from streams.serving.middleware import RequestFrame, answer_faults, answer_options
from streams.serving.protocol import BoundedHttp, HttpServer, http_config
from streams.serving.responses import REPLAYED, JsonResponse, error_body
from streams.settings import Settings

_METHODS = ("GET", "POST", "PUT", "DELETE")
_EXPOSED_HEADERS = (
    *("X-Request-ID", "request-id", "Retry-After", "Location", "x-should-retry", "Age"),
    *(CACHE_KIND_HEADER, MODEL_HEADER, *REPLAYED),
)
_NATIVE = (chat, requests, batches, feedback, admin, control)
_BODIES = (
    *(ChatBody, SubmitBody, CompletionBody, MessagesBody, EmbeddingsBody, FeedbackBody),
    *(ChangeBody, ReasonBody, KeyBody),
)
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


log = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(settings: Settings, bind: BindQuery) -> None:
    """Serve until SIGTERM or SIGINT; then finish the open requests, within the drain timeout.

    Raises as `connected_services`, and `ConfigurationError` where the port is taken.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, bind))


async def _serve(settings: Settings, bind: BindQuery) -> None:
    async with connected_services(settings, bind) as services:
        config = http_config(
            create_app(services),
            host=settings.ingest_host,
            port=settings.ingest_port,
            grace_s=settings.drain_timeout_s,
            protocol=IngestHttp,
        )
        server = _Server(config, on_stop=services.hub.dismiss_followers)
        try:
            await server.serve()
        except SystemExit as fault:  # how uvicorn says that it cannot bind
            raise ConfigurationError(
                f"cannot listen at {settings.ingest_host}:{settings.ingest_port}: is the port taken? Set "
                "HEADRACE_INGEST_HOST and HEADRACE_INGEST_PORT"
            ) from fault
    log.info("ingest.stopped")


class _Server(HttpServer):
    """A server that returns to its caller when it stops: connections are closed after it, in order."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ask the server to exit on a signal; a second one does not wait for open requests."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("ingest.stopping", signal=number.name, again=self.should_exit)
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()


class IngestHttp(BoundedHttp):
    """HTTP/1.1 that refuses malformed requests with the error object of the API that was asked."""

    @staticmethod
    def error_object(error: ErrorInfo, status: int, request_id: str, path: str) -> Mapping[str, object]:
        """Return the error object of the API that has this path."""
        if is_anthropic_route(path):
            return anthropic_error_body(error, request_id, status=status)
        return error_body(error, request_id)

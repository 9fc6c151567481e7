"""Wires the simulator: paths to endpoints, endpoints to behaviour and invoice."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from headrace.simulator.anthropic_api import ANTHROPIC
from headrace.simulator.behaviour import Director
from headrace.simulator.endpoint import chat_endpoint
from headrace.simulator.invoice import Invoice
from headrace.simulator.openai_api import OPENAI, embeddings_endpoint
from headrace.simulator.operator_api import operator_routes
from headrace.simulator.request_validation import ErrorReply
from headrace.simulator.simulated_call import Simulation

# Hanging calls end with their clients; at a stop they are given this long.
_GRACE_S = 2
_CUT_SHORT = "ASGI callable returned without completing response."


class AddressUnavailable(Exception):
    """The address cannot be listened on; the message says what to do."""


class _CutResponses(logging.Filter):
    """Hides uvicorn's complaint about responses that are cut short: it is what the fault `drop` is for."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != _CUT_SHORT


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises `AddressUnavailable`."""
    try:
        return socket.create_server((host, port), backlog=2048, reuse_port=False)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port, or 0 for a free one"
        ) from error


def build_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server for the simulator; run it with `serve(sockets=[…])`."""
    logging.getLogger("uvicorn.error").addFilter(_CutResponses())
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=75,
        )
    )


def create_app(
    *, seed: int = 0, data_dir: Path | None = None, control_password: str | None = None
) -> Starlette:
    """Return the simulator as an ASGI application.

    Answers, rates and times are drawn from `seed`. Without `data_dir` the invoice ends with the application;
    without `control_password` the operator's paths ask for none. Raises `InvoiceFileError`.
    """
    invoice = Invoice(data_dir)
    simulation = Simulation(seed=seed, director=Director(seed), invoice=invoice)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        invoice.close()

    return Starlette(
        routes=[*_provider_routes(simulation), *operator_routes(simulation, control_password)],
        exception_handlers={HTTPException: _no_such_url},
        lifespan=lifespan,
    )


def _provider_routes(simulation: Simulation) -> list[BaseRoute]:
    """Return the providers' paths, each under any base path, as self-hosted servers have them."""
    endpoints: dict[str, ASGIApp] = {
        "/chat/completions": chat_endpoint(simulation, OPENAI),
        "/messages": chat_endpoint(simulation, ANTHROPIC),
        "/embeddings": embeddings_endpoint(simulation),
    }
    return [
        Route(base + path, endpoint, methods=["POST"])
        for base in ("/v1", "/{base:path}", "")
        for path, endpoint in endpoints.items()
    ]


async def _no_such_url(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (Starlette's type of a handler is wider)
    api = ANTHROPIC if "anthropic-version" in request.headers else OPENAI
    body = api.error_body(
        ErrorReply(error.status_code, f"Invalid URL ({request.method} {request.url.path})"), ""
    )
    return Response(body, error.status_code, error.headers, media_type="application/json")

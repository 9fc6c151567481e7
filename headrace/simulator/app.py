"""Wires the simulator: paths to endpoints, endpoints to behaviour and invoice."""

import base64
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from headrace.simulator.anthropic_api import ANTHROPIC
from headrace.simulator.behaviour import Behaviour, Director
from headrace.simulator.endpoint import chat_endpoint
from headrace.simulator.invoice import Invoice
from headrace.simulator.openai_api import OPENAI, embeddings_endpoint
from headrace.simulator.request_validation import ErrorReply
from headrace.simulator.simulated_call import Simulation

_USER = "control"

PASSWORD_VARIABLE = "HEADRACE_SIMULATOR_CONTROL_PASSWORD"  # noqa: S105  # a name
"""The environment variable with the password of the operator's paths; without it they stay closed."""

Handler = Callable[[Request], Awaitable[Response]]


def operator_routes(simulation: Simulation, password: str | None) -> list[BaseRoute]:
    """Return the operator's paths; all but `/health` ask for the password, None: for nothing."""
    operator = _OperatorApi(simulation)
    return [
        Route("/health", operator.health, methods=["GET"]),
        Route("/behaviour", _with_password(operator.behaviour, password), methods=["GET", "PUT", "DELETE"]),
        Route("/invoice", _with_password(operator.invoice, password), methods=["GET", "DELETE"]),
        Route("/received", _with_password(operator.received, password), methods=["GET"]),
    ]


def _with_password(handler: Handler, password: str | None) -> Handler:
    if password is None:
        return handler
    wanted = b"Basic " + base64.b64encode(f"{_USER}:{password}".encode())

    async def guarded(request: Request) -> Response:
        if hmac.compare_digest(wanted, request.headers.get("authorization", "").encode()):
            return await handler(request)
        refusal = _problem(401, "the operator's paths need the user `control` and its password (HTTP Basic)")
        refusal.headers["www-authenticate"] = 'Basic realm="simulator"'
        return refusal

    return guarded


@dataclass(frozen=True)
class _OperatorApi:
    simulation: Simulation

    async def health(self, _request: Request) -> Response:
        return _json({"status": "ok", "simulated": True})

    async def behaviour(self, request: Request) -> Response:
        director = self.simulation.director
        if request.method == "PUT":
            try:
                director.direct(msgspec.json.decode(await request.body(), type=Behaviour))
            except msgspec.DecodeError as error:
                return _problem(422, f"{error}; nothing was changed")
        elif request.method == "DELETE":
            director.direct(Behaviour())
        return _json(director.behaviour)

    async def invoice(self, request: Request) -> Response:
        invoice, asked = self.simulation.invoice, request.query_params
        if request.method == "DELETE":
            invoice.clear()
        try:
            since = _since(asked.get("since"))
        except ValueError as error:
            return _problem(422, str(error))
        return _json(invoice.report(since=since, list_items=asked.get("items") != "false"))

    async def received(self, request: Request) -> Response:
        fragment = request.query_params.get("contains", "")
        return _json({"calls": [call for call in self.simulation.received if fragment in call.body]})


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # A plus sign in a query that is not escaped arrives as a space.
        since = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise ValueError(f"`since` must be a time with a zone, as 2026-11-20T09:30:00Z, not {text!r}")
    return since


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _problem(status: int, message: str) -> Response:
    return Response(OPENAI.error_body(ErrorReply(status, message), ""), status, media_type="application/json")


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

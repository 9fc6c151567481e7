"""Wires the simulator together: paths to endpoints, endpoints to behaviour and invoice."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.simulator.calls import Provider
from headrace.simulator.catalogue import AnthropicModels, OpenAIModels, TokenCounts
from headrace.simulator.chats import Chats
from headrace.simulator.control import Control, with_password
from headrace.simulator.dialects import Anthropic, Dialect, Keys, OpenAI
from headrace.simulator.director import Director
from headrace.simulator.embeddings import Embeddings
from headrace.simulator.invoice import Invoice, NoLog, utc_now
from headrace.simulator.invoice_file import InvoiceFile
from headrace.simulator.received import Received
from headrace.simulator.refusals import Refusal
from streams.models import EMBEDDING_USD_PER_MILLION, MODELS, Model


def create_app(
    *,
    seed: int = 0,
    data_dir: Path | None = None,
    api_keys: Iterable[str] = (),
    control_password: str | None = None,
    models: Mapping[str, Model] = MODELS,
    embedding_prices: Mapping[str, Decimal] = EMBEDDING_USD_PER_MILLION,
) -> Starlette:
    """Return the simulator as an ASGI application.

    Args:
        seed: Answers, rates and times are drawn from it.
        data_dir: Where the invoice is kept across restarts; without it, it ends with the application.
        api_keys: The keys that are taken; without any, all that begin with `sk-`.
        control_password: What `/behaviour` and `/invoice` ask for; None: nothing.
        models: The chat models served, by name.
        embedding_prices: The embedding models served, with US dollars per million tokens.

    Raises:
        InvoiceFileError: If the data folder cannot be used.
    """
    file = InvoiceFile.open(data_dir) if data_dir is not None else None
    carried, items = file.load() if file is not None else (None, [])
    invoice = Invoice(log=file or NoLog(), now=utc_now, carried=carried, items=items)
    director, received = Director(seed), Received()
    provider = Provider(
        seed=seed,
        models=models,
        embedding_prices=embedding_prices,
        keys=Keys(frozenset(api_keys)),
        director=director,
        invoice=invoice,
        received=received,
        clock=time.monotonic,
        unix_time=time.time,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        if file is not None:
            file.close()

    control = Control(director, invoice, received)
    return Starlette(
        routes=[*_provider_routes(provider), *_control_routes(control, control_password)],
        exception_handlers={HTTPException: _no_such_url},
        lifespan=lifespan,
    )


def _provider_routes(provider: Provider) -> list[BaseRoute]:
    """Return the providers' paths, each under any base path, as self-hosted servers have them."""
    openai, anthropic = OpenAI(), Anthropic()
    models = _ByVersionHeader(OpenAIModels(provider, openai), AnthropicModels(provider, anthropic))
    endpoints: list[tuple[str, str, ASGIApp]] = [
        ("/chat/completions", "POST", Chats(provider, openai)),
        ("/messages", "POST", Chats(provider, anthropic)),
        ("/embeddings", "POST", Embeddings(provider, openai)),
        ("/messages/count_tokens", "POST", TokenCounts(provider, anthropic)),
        ("/models", "GET", models),
        ("/models/{name:path}", "GET", models),
    ]
    return [
        Route(base + path, endpoint, methods=[method])
        for base in ("/v1", "/{base:path}", "")
        for path, method, endpoint in endpoints
    ]


def _control_routes(control: Control, password: str | None) -> list[BaseRoute]:
    behaviour, invoice, received = (
        with_password(each, password) for each in (control.behaviour, control.invoice, control.received)
    )
    return [
        Route("/health", control.health, methods=["GET"]),
        Route("/behaviour", behaviour, methods=["GET", "PUT", "DELETE"]),
        Route("/invoice", invoice, methods=["GET", "DELETE"]),
        Route("/received", received, methods=["GET"]),
    ]


class _ByVersionHeader:
    """Sends a call to Anthropic's endpoint where it has the header that only that API has."""

    def __init__(self, openai: ASGIApp, anthropic: ASGIApp) -> None:
        self._openai = openai
        self._anthropic = anthropic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        versioned = any(name == b"anthropic-version" for name, _ in scope["headers"])
        await (self._anthropic if versioned else self._openai)(scope, receive, send)


async def _no_such_url(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    dialect: Dialect = Anthropic() if "anthropic-version" in request.headers else OpenAI()
    refusal = Refusal(status, f"Invalid URL ({request.method} {request.url.path})")
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return Response(dialect.error_body(refusal, ""), status, headers, media_type="application/json")

"""The FastAPI application: routers, handlers of errors, middleware. It opens no connections."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from ingest.anthropic_errors import error_body_for, speaks_anthropic
from ingest.api import (
    batches,
    cache,
    chat,
    completions,
    costs,
    events,
    health,
    messages,
    models,
    requests,
    stream_token,
)
from ingest.api.page import page_router
from ingest.errors import ApiError
from ingest.json_response import JsonResponse
from ingest.middleware import RequestFrame
from ingest.openapi import describe_bodies
from ingest.services import Services
from streams.events import ErrorInfo

_ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "X-API-Key",
    "X-Headrace-Deadline-Ms",
    "X-Headrace-On-Disconnect",
    "X-Headrace-User",
    "anthropic-version",
    "traceparent",
)

_ROUTES = (
    chat,
    completions,
    messages,
    models,
    requests,
    batches,
    events,
    stream_token,
    health,
    costs,
    cache,
)


def create_app(services: Services) -> FastAPI:
    """Return the application that works with these services."""
    app = FastAPI(
        title="Headrace",
        description="An event-streaming pipeline for LLM requests. Errors are OpenAI's error object, "
        "and Anthropic's on the routes of its API.",
        redoc_url=None,
    )
    app.state.services = services
    for module in _ROUTES:
        app.include_router(module.router)
    app.include_router(page_router())
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_wrong_parameters)
    if services.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=services.settings.cors_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=("X-Request-ID", "Retry-After", "Location"),
        )
    app.add_middleware(RequestFrame)  # the last one added is the outermost: it sees preflights too
    describe_bodies(app)
    return app


async def _on_api_error(request: Request, fault: Exception) -> Response:
    if not isinstance(fault, ApiError):
        raise fault
    return _error(request, fault.status, fault.error, fault.headers)


async def _on_http_exception(request: Request, fault: Exception) -> Response:
    if not isinstance(fault, HTTPException):
        raise fault
    phrase = HTTPStatus(fault.status_code).phrase
    code = {404: "unknown_route", 405: "method_not_allowed"}.get(fault.status_code, "invalid_request")
    message = f"{phrase}: {request.method} {request.url.path}; the routes are described at /docs"
    error = ErrorInfo(type="invalid_request_error", code=code, message=message)
    return _error(request, fault.status_code, error, fault.headers or {})


async def _on_wrong_parameters(request: Request, fault: Exception) -> Response:
    if not isinstance(fault, RequestValidationError):
        raise fault
    first = fault.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    error = ErrorInfo(
        type="invalid_request_error", code="invalid_request", message=f"{param}: {first['msg']}", param=param
    )
    return _error(request, 400, error, {})


def _error(request: Request, status: int, error: ErrorInfo, headers: Mapping[str, str]) -> Response:
    body = error_body_for(request, error, status)
    own = {"request-id": request.state.request_id} if speaks_anthropic(request) else {}
    return JsonResponse(body, status_code=status, headers={**headers, **own})

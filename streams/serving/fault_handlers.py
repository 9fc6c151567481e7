"""Turns exceptions into error objects, for every route of an application."""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from streams.events import ErrorInfo
from streams.serving.errors import ApiError
from streams.serving.frame import Render, render_plainly

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_CODES = {404: "unknown_route", 405: "method_not_allowed"}


def allowed_methods(app: Starlette, scope: Scope) -> str:
    """Return the header `Allow` of a path; empty for an unknown path."""
    methods = {
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    }
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods | {"OPTIONS"})) if methods else ""


def answer_faults(app: Starlette, *, described_at: str, render: Render = render_plainly) -> None:
    """Answer every `ApiError` and unknown route with an error object. The app must be in a `RequestFrame`.

    `described_at` is where the routes are described, for the message of an unknown route.
    """

    async def on_api_error(request: Request, fault: Exception) -> Response:
        if not isinstance(fault, ApiError):
            raise fault
        return render(request, fault.status, fault.error, fault.headers)

    async def on_http_exception(request: Request, fault: Exception) -> Response:
        if not isinstance(fault, HTTPException):
            raise fault
        asked = f"{HTTPStatus(fault.status_code).phrase}: {request.method} {request.scope['path']}"
        message = f"{asked}; the routes are described at {described_at}"
        code = _CODES.get(fault.status_code, "invalid_request")
        error = ErrorInfo(type="invalid_request_error", code=code, message=message)
        headers = dict(fault.headers or {})
        if fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed_methods(app, request.scope)
        return render(request, fault.status_code, error, headers)

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_exception)

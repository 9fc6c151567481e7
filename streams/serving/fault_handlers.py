"""Turns exceptions into error objects, for every route of an application."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from streams.events import ErrorInfo
from streams.serving.errors import ApiError
from streams.serving.frame import plain_error_body
from streams.serving.json_response import JsonResponse

#: Makes the response to a request from its status, its error and extra headers.
Render = Callable[[Request, int, ErrorInfo, Mapping[str, str]], Response]

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_CODES = {404: "unknown_route", 405: "method_not_allowed"}


def render_plainly(request: Request, status: int, error: ErrorInfo, headers: Mapping[str, str]) -> Response:
    """Return OpenAI's error object."""
    return JsonResponse(plain_error_body(request, error, status), status_code=status, headers=headers)


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
    """Answer every `ApiError` and unknown route with an error object.

    Args:
        app: the application, inside a `RequestFrame`.
        described_at: the path of the routes' description, for the message of an unknown route.
        render: the shape of an error.
    """

    async def on_api_error(request: Request, fault: Exception) -> Response:
        if not isinstance(fault, ApiError):
            raise fault
        return render(request, fault.status, fault.error, fault.headers)

    async def on_http_exception(request: Request, fault: Exception) -> Response:
        if not isinstance(fault, HTTPException):
            raise fault
        phrase = HTTPStatus(fault.status_code).phrase
        message = (
            f"{phrase}: {request.method} {request.scope['path']}; the routes are described at {described_at}"
        )
        code = _CODES.get(fault.status_code, "invalid_request")
        error = ErrorInfo(type="invalid_request_error", code=code, message=message)
        headers = dict(fault.headers or {})
        if fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed_methods(app, request.scope)
        return render(request, fault.status_code, error, headers)

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_exception)

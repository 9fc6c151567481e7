"""What surrounds the routes of every application: request ids, access log, security headers, errors, CORS.

`RequestFrame` is the outermost. `answer_faults` turns exceptions into error objects. `answer_options` answers
`OPTIONS` (CORS preflights and others) and `HEAD`, which FastAPI's routes do not.
"""

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.events import ErrorInfo
from streams.serving.responses import ApiError, JsonResponse, error_body

#: Makes the response to a request from its status, its error and extra headers.
Render = Callable[[Request, int, ErrorInfo, Mapping[str, str]], Response]

#: On every response.
SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PROBES = frozenset({"/health", "/live", "/ready", "/metrics"})
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left; only the access log shows it
#: An id of the client's own: short, and safe in logs and headers.
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_INTERNAL_ERROR = ErrorInfo(
    type="api_error",
    code="internal_error",
    message="something went wrong here; the log has it under this request id",
)
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_CODES = {404: "unknown_route", 405: "method_not_allowed"}
_REFUSED: Final = ErrorInfo(
    type="invalid_request_error",
    code="origin_not_allowed",
    message="pages of this origin may not ask here, or not so: HEADRACE_CORS_ORIGINS lists those that may",
)


def render_plainly(request: Request, status: int, error: ErrorInfo, headers: Mapping[str, str]) -> Response:
    """Return OpenAI's error object with the request's id."""
    body = error_body(error, request.state.request_id)
    return JsonResponse(body, status_code=status, headers=headers)


class RequestFrame:
    """Gives each request an id, answers uncaught faults with a 500, and logs one line per request.

    The line never contains the key, the query string or any text of the request. `response_headers` in the
    request's state are on its response, whether that is an answer or an error.
    """

    def __init__(self, app: ASGIApp, *, logger: str, render: Render = render_plainly) -> None:
        self._app = app
        self._log = structlog.get_logger(logger)
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status: int | None = None
        state = scope["state"] = {**scope.get("state", {}), "request_id": _request_id(scope)}

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = state["request_id"]
                for name, value in state.get("response_headers", {}).items():
                    headers[name] = value
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except Exception:  # noqa: BLE001 - the last resort: no request may show its insides
            self._log.exception("http.fault", request_id=state["request_id"])
            if status is None:
                response = self._render(Request(scope), 500, _INTERNAL_ERROR, {})
                await response(scope, receive, watched_send)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int | None, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", None) or "(no route)"
        write = self._log.debug if path in _PROBES else self._log.info
        write(
            "http.request",
            request_id=scope["state"]["request_id"],
            method=scope["method"],
            route=path,
            status=status,
            duration_ms=round(seconds * 1000, 2),
            tenant=scope["state"].get("tenant"),
        )


def _request_id(scope: Scope) -> str:
    """Return the client's own id if it is well-formed, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text: str = given.decode("latin-1")
    return text if _CLIENT_ID.fullmatch(text) else str(uuid.uuid4())


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

    async def on_fault(request: Request, fault: Exception) -> Response:
        if isinstance(fault, ApiError):
            return render(request, fault.status, fault.error, fault.headers)
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

    app.add_exception_handler(ApiError, on_fault)
    app.add_exception_handler(HTTPException, on_fault)


def answer_options(
    app: Starlette,
    origins: Sequence[str],
    *,
    methods: Sequence[str],
    exposed: Sequence[str],
    render: Render = render_plainly,
) -> None:
    """Answer `OPTIONS` on every route, and `HEAD` wherever there is a `GET`. Add a `RequestFrame` after it.

    A preflight of an allowed origin is permitted with any headers; any other gets a 403. Cookies are never
    allowed: keys come in headers. `exposed` are the response headers that pages of other origins may read.
    """
    app.add_middleware(HeadAsGet)
    cors = {"allow_origins": origins, "allow_methods": methods, "expose_headers": exposed}
    app.add_middleware(_Options, routes_of=app, render=render, cors=cors)


class HeadAsGet:
    """Answers `HEAD` as `GET`, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["method"] = "HEAD"  # the server looks at it, too
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        scope["method"] = "GET"
        await self._app(scope, receive, send_head)


class _Options(CORSMiddleware):
    def __init__(
        self, app: ASGIApp, *, routes_of: Starlette, render: Render, cors: Mapping[str, Any]
    ) -> None:
        super().__init__(app, allow_headers=["*"], **cors)
        self._routes_of = routes_of
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            inner = super().__call__ if self.allow_origins else self.app
            await inner(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "origin" in headers and "access-control-request-method" in headers:
            response = self.preflight_response(request_headers=headers)
            if response.status_code != 200:
                response = self._render(Request(scope), 403, _REFUSED, {"Vary": "Origin"})
            await response(scope, receive, send)
        elif allowed := allowed_methods(self._routes_of, scope):
            await Response(status_code=204, headers={"Allow": allowed})(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)  # there is no such route

"""The outermost middleware: request ids, access log, faults that nothing caught, security headers."""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.events import ErrorInfo
from streams.serving.errors import error_body
from streams.serving.json_response import JsonResponse

#: The body of an error: for this request, this error and this status.
ErrorBody = Callable[[Request, ErrorInfo, int], Mapping[str, object]]

#: On every response.
SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PROBES = frozenset({"/health", "/live", "/ready", "/metrics"})
_CLIENT_CLOSED_REQUEST = 499
#: An id of the client's own: short, and safe in logs and headers.
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_INTERNAL_ERROR = ErrorInfo(
    type="api_error",
    code="internal_error",
    message="something went wrong here; the log has it under this request id",
)


def plain_error_body(request: Request, error: ErrorInfo, status: int) -> dict[str, object]:
    """Return OpenAI's error object with the request's id."""
    del status  # other shapes need it
    return error_body(error, request.state.request_id)


class RequestFrame:
    """Gives each request an id, answers uncaught faults with a 500, and logs one line per request.

    The line never contains the key, the query string or any text of the request.
    """

    def __init__(self, app: ASGIApp, *, logger: str, error_body: ErrorBody = plain_error_body) -> None:
        self._app = app
        self._log = structlog.get_logger(logger)
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, self._log, self._error_body).serve(self._app, receive, send)


def _request_id(scope: Scope) -> str:
    """Return the client's own id if it is well-formed, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text: str = given.decode("latin-1")
    return text if _CLIENT_ID.fullmatch(text) else str(uuid.uuid4())


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, log: Any, error_body: ErrorBody) -> None:
        self._scope = scope
        self._log = log
        self._error_body = error_body
        self._state: dict[str, Any] = {**scope.get("state", {}), "request_id": _request_id(scope)}
        scope["state"] = self._state
        self._status: int | None = None
        self._started = time.perf_counter()

    async def serve(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                self._add_headers(message)
            await send(message)

        try:
            await app(self._scope, receive, watched_send)
        except ClientDisconnect:
            self._status = _CLIENT_CLOSED_REQUEST
        except Exception:  # noqa: BLE001 - the last resort: no request may show its insides
            self._log.exception("http.fault", request_id=self._state["request_id"])
            if self._status is None:
                body = self._error_body(Request(self._scope), _INTERNAL_ERROR, 500)
                await JsonResponse(body, status_code=500)(self._scope, receive, watched_send)
        finally:
            self._note()

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = self._state["request_id"]
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)

    def _note(self) -> None:
        route = self._scope.get("route")
        path = getattr(route, "path", None) or "(no route)"
        write = self._log.debug if path in _PROBES else self._log.info
        write(
            "http.request",
            request_id=self._state["request_id"],
            method=self._scope["method"],
            route=path,
            status=self._status,
            duration_ms=round((time.perf_counter() - self._started) * 1000, 2),
            tenant=self._state.get("tenant"),
        )

"""Around every request: its id, the access log, the last resort for faults, and a few headers."""

import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.anthropic_errors import error_body_for
from ingest.json_response import JsonResponse
from streams.events import ErrorInfo

log = structlog.get_logger("ingest.access")

_SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PROBES = frozenset({"/health", "/live", "/ready"})
_CLIENT_CLOSED_REQUEST = 499
_INTERNAL_ERROR = ErrorInfo(
    type="api_error",
    code="internal_error",
    message="something went wrong here; the log has it under this request id",
)


class RequestFrame:
    """Gives each request an id, answers what nothing else caught, and writes one line about it.

    The line never has the key, the query string or any text of the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope).serve(self._app, receive, send)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._state: dict[str, Any] = {**scope.get("state", {}), "request_id": str(uuid.uuid4())}
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
        except Exception:  # the last resort: nothing that happens to one request may show its insides
            log.exception("http.fault", request_id=self._state["request_id"])
            if self._status is None:
                body = error_body_for(Request(self._scope), _INTERNAL_ERROR, 500)
                await JsonResponse(body, status_code=500)(self._scope, receive, watched_send)
        finally:
            self._log()

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = self._state["request_id"]
        for name, value in _SECURITY_HEADERS.items():
            headers.setdefault(name, value)

    def _log(self) -> None:
        route = self._scope.get("route")
        path = getattr(route, "path", None) or "(no route)"
        write = log.debug if path in _PROBES else log.info
        write(
            "http.request",
            request_id=self._state["request_id"],
            method=self._scope["method"],
            route=path,
            status=self._status,
            duration_ms=round((time.perf_counter() - self._started) * 1000, 2),
            tenant=self._state.get("tenant"),
        )

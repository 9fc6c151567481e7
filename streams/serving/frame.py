"""The outermost middleware: request ids, access log, faults that nothing caught, security headers."""

import re
import time
import uuid
from collections.abc import Callable, Mapping

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.events import ErrorInfo
from streams.serving.errors import error_body
from streams.serving.json_response import JsonResponse

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


def render_plainly(request: Request, status: int, error: ErrorInfo, headers: Mapping[str, str]) -> Response:
    """Return OpenAI's error object with the request's id."""
    body = error_body(error, request.state.request_id)
    return JsonResponse(body, status_code=status, headers=headers)


class RequestFrame:
    """Gives each request an id, answers uncaught faults with a 500, and logs one line per request.

    The line never contains the key, the query string or any text of the request.
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

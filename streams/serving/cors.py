"""Answers `OPTIONS` (CORS preflights and others) and `HEAD`, which FastAPI's routes do not."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.events import ErrorInfo
from streams.serving.fault_handlers import allowed_methods
from streams.serving.frame import Render, render_plainly

_REFUSED: Final = ErrorInfo(
    type="invalid_request_error",
    code="origin_not_allowed",
    message="pages of this origin may not ask here, or not so: HEADRACE_CORS_ORIGINS lists those that may",
)


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

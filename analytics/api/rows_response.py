"""Streams a result from ClickHouse to the client."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from analytics.api.answering import faults_as_errors
from analytics.reports.query_parameters import INSTANT
from analytics.reports.query_service import PreparedQuery, QueryService
from analytics.reports.result_formats import JSON
from streams.serving.json_response import to_json
from streams.tasks import run_unless, until_disconnect

log = structlog.get_logger(__name__)

#: How long a client may take to fetch a result. It holds a slot meanwhile.
_FETCH_TIMEOUT_S: Final = 120.0
#: Smaller pieces wait for the next one, so that a small result is one write.
_PIECE_BYTES: Final = 64 * 1024


class RowsResponse(Response):
    """Runs a query and sends the rows. A client that disconnects cancels the query.

    A fault before the first byte is an `ApiError`; after it, the connection is closed without the end of the
    body, which the client sees.
    """

    def __init__(
        self, service: QueryService, prepared: PreparedQuery, *, fetch_timeout_s: float = _FETCH_TIMEOUT_S
    ) -> None:
        super().__init__(media_type=prepared.output.media_type, headers=_headers(prepared))
        del self.headers["content-length"]  # that of an empty body
        self._service = service
        self._prepared = prepared
        self._fetch_timeout_s = fetch_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request. It raises `ClientDisconnect` where the client has left, or is too slow."""
        del scope
        if await run_unless(until_disconnect(receive), self._serve(send)) is None:
            log.info("analysts.client_left", query=self._prepared.query.name)
            raise ClientDisconnect

    async def _serve(self, send: Send) -> None:
        with faults_as_errors(self._prepared.query.name):
            async with self._service.ask(self._prepared) as result:
                await self._send_rows(result.pieces(), send)

    async def _send_rows(self, pieces: AsyncIterator[bytes], send: Send) -> None:
        """Send the response, from when there is a first piece of it: until then a fault can have a status."""
        held, after = _frame(self._prepared)
        started = False
        try:
            async with asyncio.timeout(self._fetch_timeout_s):
                async for piece in pieces:
                    if len(held) > _PIECE_BYTES:
                        await self._send_piece(send, held, first=not started, more=True)
                        started, held = True, b""
                    held += piece
                await self._send_piece(send, held + after, first=not started, more=False)
        except TimeoutError:
            log.info("analysts.client_too_slow", query=self._prepared.query.name)
            raise ClientDisconnect from None

    async def _send_piece(self, send: Send, body: bytes, *, first: bool, more: bool) -> None:
        if first:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": body, "more_body": more})


def _headers(prepared: PreparedQuery) -> dict[str, str]:
    headers = {"Cache-Control": "private, no-store"}
    if prepared.output is not JSON:
        file = f"{prepared.query.name}.{prepared.output.name}"
        headers["Content-Disposition"] = f'attachment; filename="{file}"'
    return headers


def _frame(prepared: PreparedQuery) -> tuple[bytes, bytes]:
    """Return what stands before and after the rows: in JSON, the query, its parameters and its columns."""
    if prepared.output is not JSON:
        return b"", b""
    head = to_json({
        "query": prepared.query.name,
        "parameters": _shown(prepared),
        "columns": prepared.query.columns,
    })  # fmt: skip
    return head.removesuffix(b"}") + b',"rows":', b"}"


def _shown(prepared: PreparedQuery) -> Mapping[str, Any]:
    """Return the parameters as they count: times in RFC 3339, and no tables of prices."""
    shown: dict[str, Any] = {}
    for parameter in prepared.query.parameters:
        value = prepared.parameters[parameter.name]
        if parameter.type == INSTANT:
            shown[parameter.name] = f"{str(value).replace(' ', 'T')}Z"
        elif isinstance(value, str | int | float):
            shown[parameter.name] = value
    return shown

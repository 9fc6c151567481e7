"""Writes the HTTP response of one query: headers, the result, an error at its start or in its midst."""

import json
import secrets
from collections.abc import Mapping

from starlette.types import Send

from headrace.embedded.clickhouse.engine import Engine, Summary
from headrace.embedded.clickhouse.query_error import QueryError

_TEXT = "text/plain; charset=UTF-8"
_MEDIA_TYPES = {
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
}


class HttpReply:
    """The response to one query, sent whole or in pieces; set `query_id` and `output_format` before."""

    def __init__(self, send: Send, engine: Engine) -> None:
        self._send = send
        self._engine = engine
        self._tag = secrets.token_hex(8)
        self._started = False
        self.query_id = ""
        self.output_format = ""

    async def whole(self, body: bytes, summary: Summary) -> None:
        """Answer with everything at once."""
        await self._start(200, summary, {**self._format(), "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, summary: Summary | None = None) -> None:
        """Start an answer in pieces; the summary is not known before the end of the query."""
        tag = {"x-clickhouse-exception-tag": self._tag}
        await self._start(200, summary, {**self._format(), **tag})

    async def piece(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body; waits while the client is slow."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def fail(self, error: QueryError) -> None:
        """Report an error: as the status, or inside a body that has begun.

        A body that has begun is left unfinished on purpose: the connection breaks, so that a client that
        does not know the marker sees that something is missing.
        """
        text = f"{error.message} (version {self._engine.version} (chDB))"
        if self._started:
            marker = (
                f"\r\n__exception__\r\n{self._tag}\r\n{text}\n"
                f"{len(text.encode()) + 1} {self._tag}\r\n__exception__\r\n"
            )
            await self.piece(marker.encode())
            return
        body = f"{text}\n".encode()
        headers = {
            "content-type": _TEXT,
            "content-length": str(len(body)),
            "x-clickhouse-exception-code": str(error.code),
        }
        if error.status == 401:
            headers["www-authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        if error.status == 503:
            headers["retry-after"] = "1"
        await self._start(error.status, None, headers)
        await self._send({"type": "http.response.body", "body": body})

    def _format(self) -> dict[str, str]:
        media_type = "application/octet-stream"
        for prefix, known in _MEDIA_TYPES.items():
            if self.output_format.startswith(prefix):
                media_type = known
        return {"x-clickhouse-format": self.output_format, "content-type": media_type}

    async def _start(self, status: int, summary: Summary | None, headers: Mapping[str, str]) -> None:
        self._started = True
        headers = {
            "x-clickhouse-query-id": self.query_id,
            "x-clickhouse-timezone": self._engine.timezone,
            **({"x-clickhouse-summary": json.dumps(summary)} if summary else {}),
            **headers,
        }
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

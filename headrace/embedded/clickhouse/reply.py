"""The response's side of HTTP: headers, content types, a failure in mid-stream."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from starlette.types import Send

from headrace.embedded.clickhouse.encodings import Encoder, encoder
from headrace.embedded.clickhouse.engine import Statistics
from headrace.embedded.clickhouse.faults import QueryFailed

_TEXT = "text/plain; charset=UTF-8"
_BY_PREFIX = (
    ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONStringsEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONCompactEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSON", "application/json; charset=UTF-8"),
    ("CSV", "text/csv; charset=UTF-8"),
    ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ("TSV", "text/tab-separated-values; charset=UTF-8"),
    ("XML", "application/xml; charset=UTF-8"),
    ("Pretty", _TEXT),
    ("Vertical", _TEXT),
    ("Values", _TEXT),
    ("Markdown", "text/markdown; charset=UTF-8"),
)


def content_type(output_format: str) -> str:
    """The media type that the server gives to a format."""
    for prefix, media_type in _BY_PREFIX:
        if output_format.startswith(prefix):
            return media_type
    return "application/octet-stream"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What every response says about this server."""

    host: str
    timezone: str
    version: str


class Reply:
    """Writes one response, whole or in pieces.

    Args:
        send: The ASGI channel.
        identity: Of the server.
        query_id: Of the query.
    """

    def __init__(self, send: Send, identity: Identity, query_id: str) -> None:
        self._send = send
        self._identity = identity
        self._headers = {
            "x-clickhouse-server-display-name": identity.host,
            "x-clickhouse-query-id": query_id,
            "x-clickhouse-timezone": identity.timezone,
            "keep-alive": "timeout=30",
        }
        self._encoder: Encoder | None = None
        self._tag = secrets.token_hex(8)
        self.started = False

    def describe(self, output_format: str, encoding: str | None) -> None:
        """Say what the body will be."""
        self._headers["x-clickhouse-format"] = output_format
        self._headers["content-type"] = content_type(output_format)
        if encoding:
            self._headers["content-encoding"] = encoding
            self._encoder = encoder(encoding)

    async def whole(self, body: bytes, statistics: Statistics) -> None:
        """Answer with everything at once."""
        if not body:
            self._headers.pop("content-encoding", None)
        elif self._encoder:
            body = self._encoder.compress(body) + self._encoder.flush()
        await self._start(200, {**_summary(statistics), "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, statistics: Statistics | None = None) -> None:
        """Start an answer in pieces."""
        summary = _summary(statistics or Statistics())
        await self._start(200, {**summary, "x-clickhouse-exception-tag": self._tag})

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slow."""
        if self._encoder:
            data = self._encoder.compress(data)
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """Finish an answer in pieces."""
        rest = self._encoder.flush() if self._encoder else b""
        await self._send({"type": "http.response.body", "body": rest})

    async def fail(self, error: QueryFailed) -> None:
        """Report an error: as the status, or inside a body that has begun.

        In the latter case the response is left unfinished on purpose: the connection breaks, and a client
        that does not know the marker still sees that something is missing.
        """
        text = f"{error.message} (version {self._identity.version} (chDB))"
        if not self.started:
            await self._refuse(error, text + "\n")
            return
        marker = (
            f"\r\n__exception__\r\n{self._tag}\r\n{text}\n"
            f"{len(text.encode()) + 1} {self._tag}\r\n__exception__\r\n"
        )
        await self.piece(marker.encode())
        rest = self._encoder.flush() if self._encoder else b""
        await self._send({"type": "http.response.body", "body": rest, "more_body": True})

    async def _refuse(self, error: QueryFailed, text: str) -> None:
        self._headers.pop("content-encoding", None)
        headers = {
            "content-type": _TEXT,
            "content-length": str(len(text.encode())),
            "x-clickhouse-exception-code": str(error.code),
        }
        if error.status == 401:
            headers["www-authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        if error.status == 503:
            headers["retry-after"] = "1"
        await self._start(error.status, {**headers, **_summary(Statistics())})
        await self._send({"type": "http.response.body", "body": text.encode()})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        merged = {**self._headers, **headers}
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in merged.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


def _summary(statistics: Statistics) -> dict[str, str]:
    figures = {name: str(value) for name, value in asdict(statistics).items()}
    figures["total_rows_to_read"] = "0"  # the engine does not tell before it is done
    return {"x-clickhouse-summary": json.dumps(figures)}

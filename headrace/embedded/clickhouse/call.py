"""An HTTP request read into what is to be done."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import UploadFile
from starlette.requests import Request

from headrace.embedded.clickhouse.encodings import Decoder, choose
from headrace.embedded.clickhouse.engine import Scope
from headrace.embedded.clickhouse.external import ExternalTable, external_table
from headrace.embedded.clickhouse.faults import QueryFailed
from headrace.embedded.clickhouse.sessions import DEFAULT_TIMEOUT_S
from headrace.embedded.clickhouse.users import READER, Passwords, reader_settings

SPOOL_BYTES = 8 << 20
"""A body or a buffered result up to this size stays in memory; beyond, it is in a temporary file."""

_CODE_NOT_IMPLEMENTED = 48
_CODE_INVALID_SESSION_TIMEOUT = 374

# Parameters of the interface itself: not settings.
_RESERVED = frozenset({
    "query", "database", "default_format", "user", "password", "quota_key", "role", "query_id",
    "session_id", "session_timeout", "session_check", "close_session", "compress", "decompress",
    "stacktrace", "wait_end_of_query", "buffer_size", "client_protocol_version",
    # Settings that only the HTTP side looks at: kept from the engine, which would have to undo them.
    "enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request for the engine.

    Attributes:
        user: Who asks.
        content: The SQL and the data after it, from the start.
        external: Tables sent along with the query.
        scope: Settings, database and id.
        parameters: Values for ``{name:Type}``.
        default_format: The output format where the SQL names none.
        encoding: Content encoding of the response; None for none.
        readonly: Only reading is allowed (it came by GET).
        whole: Send nothing before the end, so that an error can still be the status.
        session_id: Empty: no session.
        session_timeout_s: How long the session lives after this request.
        session_check: The session must exist.
        close_session: The session ends with this request.
    """

    user: str
    content: IO[bytes]
    external: tuple[ExternalTable, ...]
    scope: Scope
    parameters: Mapping[str, str]
    default_format: str
    encoding: str | None
    readonly: bool
    whole: bool
    session_id: str
    session_timeout_s: float
    session_check: bool
    close_session: bool


async def read_call(request: Request, passwords: Passwords) -> Call:
    """Authenticate a request and read it to its end.

    Raises:
        QueryFailed: It is not allowed, or not well-formed.
    """
    query = dict(request.query_params)
    user = passwords.authenticate(request.headers, query)
    if "1" in (query.get("compress"), query.get("decompress")):
        raise QueryFailed.of(
            _CODE_NOT_IMPLEMENTED,
            "NOT_IMPLEMENTED",
            "compress=1 and decompress=1 (the native block compression) are not supported here: "
            "use the headers Accept-Encoding and Content-Encoding",
        )
    form, uploads = await _read_form(request)
    query.update(form)
    content = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - closed by who runs the call
    if query.get("query"):
        content.write(query["query"].encode() + b"\n")
    if not uploads and not form:
        await _read_body(request, content)
    content.seek(0)
    external = tuple(external_table(name, upload, query) for name, upload in uploads)
    return _call(request, query, user, content, external)


def _call(
    request: Request,
    query: Mapping[str, str],
    user: str,
    content: IO[bytes],
    external: tuple[ExternalTable, ...],
) -> Call:
    headers = request.headers
    own = {table.name for table in external}
    settings = {name: value for name, value in query.items() if not _is_ours(name, own)}
    readonly = request.method == "GET"
    session_id = query.get("session_id", "")
    if user == READER:
        settings, session_id = reader_settings(settings), ""
    elif readonly and not session_id and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"
    compressible = query.get("enable_http_compression", "1") not in ("0", "false")
    return Call(
        user=user,
        content=content,
        external=external,
        scope=Scope(
            settings=settings,
            database=query.get("database") or headers.get("x-clickhouse-database", ""),
            query_id=query.get("query_id") or headers.get("x-clickhouse-query-id") or str(uuid.uuid4()),
        ),
        parameters={name[6:]: value for name, value in query.items() if name.startswith("param_")},
        default_format=query.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        encoding=choose(headers.get("accept-encoding", "")) if compressible else None,
        readonly=readonly,
        whole=query.get("wait_end_of_query") in ("1", "true"),
        session_id=session_id,
        session_timeout_s=_session_timeout(query),
        session_check=query.get("session_check") == "1",
        close_session=query.get("close_session") == "1",
    )


def _is_ours(name: str, external: set[str]) -> bool:
    if name in _RESERVED or name.startswith("param_"):
        return True
    table, _, aspect = name.rpartition("_")
    return aspect in ("structure", "types", "format") and table in external


def _session_timeout(query: Mapping[str, str]) -> float:
    text = query.get("session_timeout")
    if text is None:
        return DEFAULT_TIMEOUT_S
    if not text.isdecimal():
        raise QueryFailed.of(
            _CODE_INVALID_SESSION_TIMEOUT, "INVALID_SESSION_TIMEOUT", f"Invalid session timeout: {text!r}"
        )
    return float(text)


async def _read_body(request: Request, content: IO[bytes]) -> None:
    decoder = Decoder(request.headers.get("content-encoding", ""))
    async for chunk in request.stream():
        content.write(decoder.feed(chunk))
    decoder.finish()


async def _read_form(request: Request) -> tuple[dict[str, str], list[tuple[str, UploadFile]]]:
    """The fields and files of a multipart body, which is how external tables are sent."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return {}, []
    form = await request.form()
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return fields, [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]

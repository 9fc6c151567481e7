"""Reads an HTTP request into the query to run. Bodies may be compressed, as clickhouse-connect sends them."""

import asyncio
import base64
import binascii
import gzip
import hmac
import shutil
import sys
import tempfile
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import lz4.frame
import msgspec
from starlette.requests import Request

from headrace.embedded.clickhouse.query_error import QueryError

OWNER = "default"
READER = "reader"

READER_LIMITS: Mapping[str, int] = {
    "max_execution_time": 60,
    "max_memory_usage": 2 << 30,
    "max_result_bytes": 1 << 30,
    "max_bytes_to_read": 100 << 30,
}
"""Seconds and bytes. A reader may ask for less, not for more."""


class Passwords(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The users that there are. `reader` None: there is no such user."""

    owner: str
    reader: str | None = None

    def __repr__(self) -> str:
        """Without the passwords."""
        return "Passwords(…)"

    def authenticate(self, headers: Mapping[str, str]) -> str:
        """Check the credentials of a request."""
        given = _credentials(headers)
        user, password = given or (OWNER, "")
        wanted = {OWNER: self.owner, READER: self.reader}.get(user)
        if wanted and hmac.compare_digest(wanted.encode(), password.encode()):
            return user
        if given is None:
            raise QueryError.of("REQUIRED_PASSWORD", f"{user}: a password is required")
        raise QueryError.of(
            "AUTHENTICATION_FAILED",
            f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
        )


def reader_settings(asked: Mapping[str, str]) -> dict[str, str]:
    """A reader's settings: those asked for, within the limits, and nothing can be written."""
    for name, limit in READER_LIMITS.items():
        value = asked.get(name)
        # Python reads no number of thousands of digits; 18 are more than any limit has.
        if value is not None and not (value.isdecimal() and len(value) <= 18 and 0 < int(value) <= limit):
            raise QueryError.of(
                "SETTING_CONSTRAINT_VIOLATION",
                f"Setting {name} shouldn't be greater than {limit}",
            )
    limits = {name: str(limit) for name, limit in READER_LIMITS.items()}
    return {**limits, **asked, "readonly": "1"}


def _credentials(headers: Mapping[str, str]) -> tuple[str, str] | None:
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", OWNER), headers.get("x-clickhouse-key", "")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return None


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Each reads several frames in a row: clients send one per block.
_DECOMPRESSED: dict[str, Callable[[IO[bytes]], Any]] = {
    "lz4": lz4.frame.open,
    "zstd": zstd.open,
    "gzip": gzip.open,
}
_DAMAGED = (EOFError, RuntimeError, gzip.BadGzipFile, zlib.error, zstd.ZstdError)

SPOOL_BYTES = 8 << 20
"""A body or a held result up to this size stays in memory; a larger one is in a temporary file."""

#: Parameters of the HTTP interface, with `param_…`. Every other one is a setting of the engine.
_INTERFACE_PARAMETERS = frozenset({
    "query", "database", "default_format", "query_id", "wait_end_of_query",
    # What clients send that changes nothing here. Queries always end with their client.
    "session_id", "session_timeout", "quota_key", "buffer_size", "client_protocol_version",
    "enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
})  # fmt: skip
_NOT_SUPPORTED = {
    "compress": "responses are not compressed",
    "decompress": "use the header Content-Encoding",
    "session_check": "there are no sessions",
    "close_session": "there are no sessions",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpQuery:
    """One query, as a client sent it."""

    user: str
    content: IO[bytes]  # the SQL and the data after it, from the start
    settings: Mapping[str, str]  # setting → value, for this query only
    database: str
    query_id: str
    parameters: Mapping[str, str]  # values for ``{name:Type}``
    default_format: str
    wait_end_of_query: bool  # send nothing before the end, so that an error can still be the status


async def read_query(request: Request, passwords: Passwords) -> HttpQuery:
    """Authenticate a request and read it to its end."""
    headers = request.headers
    values = dict(request.query_params)
    user = passwords.authenticate(headers)
    for name, instead in _NOT_SUPPORTED.items():
        if values.get(name, "0") != "0":
            raise QueryError.of("NOT_IMPLEMENTED", f"{name} is not supported here: {instead}")
    is_form = headers.get("content-type", "").startswith("multipart/form-data")
    if is_form:
        values |= await _form_fields(request)
    content = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # closed by who runs the query
    if sql := values.get("query"):
        content.write(sql.encode() + b"\n")
    if not is_form:
        await _read_body(request, content)
    content.seek(0)
    settings = {
        name: value
        for name, value in values.items()
        if name not in _INTERFACE_PARAMETERS and name not in _NOT_SUPPORTED and not name.startswith("param_")
    }
    if user == READER:
        settings = reader_settings(settings)
    elif request.method == "GET":
        settings["readonly"] = "2" if settings.get("readonly", "0") == "0" else settings["readonly"]
    return HttpQuery(
        user=user,
        content=content,
        settings=settings,
        database=values.get("database", ""),
        query_id=values.get("query_id") or str(uuid.uuid4()),
        parameters={
            name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")
        },
        default_format=values.get("default_format") or "TabSeparated",
        wait_end_of_query=values.get("wait_end_of_query") in ("1", "true"),
    )


async def _read_body(request: Request, content: IO[bytes]) -> None:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in request.stream():
            content.write(chunk)
        return
    if encoding not in _DECOMPRESSED:
        text = f"Content-Encoding {encoding} is not supported here: use lz4, zstd, gzip or none"
        raise QueryError.of("NOT_IMPLEMENTED", text)
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as received:
        async for chunk in request.stream():
            received.write(chunk)
        received.seek(0)
        try:
            await asyncio.to_thread(shutil.copyfileobj, _DECOMPRESSED[encoding](received), content)
        except _DAMAGED as error:
            raise QueryError.of("INCORRECT_DATA", f"The body is not valid {encoding}: {error}") from error


async def _form_fields(request: Request) -> dict[str, str]:
    """The fields of a multipart body: clients send a query with long parameters that way."""
    async with request.form(max_part_size=SPOOL_BYTES) as form:
        fields = form.multi_items()
    if any(not isinstance(value, str) for _, value in fields):
        raise QueryError.of("NOT_IMPLEMENTED", "External tables are not supported here: insert into a table")
    return {name: value for name, value in fields if isinstance(value, str)}

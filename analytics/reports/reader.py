"""Runs analysts' queries in ClickHouse as a read-only user: limited, cancellable, streamed.

It speaks ClickHouse's HTTP interface itself, because results are passed on as the bytes that ClickHouse
writes. Queries never use the sink's connection: they have a user of their own, and none runs before
ClickHouse has confirmed that this user cannot write.
"""

import asyncio
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from clickhouse_connect.driver.binding import format_bind_value

from analytics.reports.query import ResultFormat
from streams.errors import ClickHouseUnavailable, ConfigurationError, HeadraceError


class Reason(StrEnum):
    """The kind of failure, by what is to be done."""

    TOO_SLOW = "too_slow"  # it takes too long: ask for less
    RESULT_TOO_LARGE = "result_too_large"  # too many rows or bytes come out: ask for less
    TOO_MUCH_MEMORY = "too_much_memory"  # too much is looked at: ask for less
    WRONG_PARAMETER = "wrong_parameter"  # a value does not have its parameter's type
    BUSY = "busy"  # ClickHouse has too much to do: try again
    NOT_READY = "not_ready"  # the schema is not there yet: try again
    MISCONFIGURED = "misconfigured"  # the reader's user, password or rights: an operator's matter
    BROKEN = "broken"  # the query itself: a mistake of ours


class QueryFault(HeadraceError):
    """A query failed; `reason` says what is to be done."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_MEMORY_LIMIT_EXCEEDED: Final = 241
#: From ClickHouse's `src/Common/ErrorCodes.cpp`.
_REASONS: Final = {
    60: Reason.NOT_READY,  # UNKNOWN_TABLE
    81: Reason.NOT_READY,  # UNKNOWN_DATABASE
    115: Reason.MISCONFIGURED,  # UNKNOWN_SETTING
    158: Reason.TOO_MUCH_MEMORY,  # TOO_MANY_ROWS (to read)
    159: Reason.TOO_SLOW,  # TIMEOUT_EXCEEDED
    160: Reason.TOO_SLOW,  # TOO_SLOW
    164: Reason.MISCONFIGURED,  # READONLY
    192: Reason.MISCONFIGURED,  # UNKNOWN_USER
    193: Reason.MISCONFIGURED,  # WRONG_PASSWORD
    194: Reason.MISCONFIGURED,  # REQUIRED_PASSWORD
    202: Reason.BUSY,  # TOO_MANY_SIMULTANEOUS_QUERIES
    209: Reason.TOO_SLOW,  # SOCKET_TIMEOUT
    _MEMORY_LIMIT_EXCEEDED: Reason.TOO_MUCH_MEMORY,
    307: Reason.TOO_MUCH_MEMORY,  # TOO_MANY_BYTES (to read)
    394: Reason.BUSY,  # QUERY_WAS_CANCELLED: by an operator, or at a shutdown
    396: Reason.RESULT_TOO_LARGE,  # TOO_MANY_ROWS_OR_BYTES
    452: Reason.MISCONFIGURED,  # SETTING_CONSTRAINT_VIOLATION
    457: Reason.WRONG_PARAMETER,  # BAD_QUERY_PARAMETER
    497: Reason.MISCONFIGURED,  # ACCESS_DENIED
    516: Reason.MISCONFIGURED,  # AUTHENTICATION_FAILED
}


#: The stored tables with a column `tenant`. A view needs no filter: it reads these.
TABLES_WITH_TENANT: Final = """
SELECT name
FROM system.tables
WHERE database = currentDatabase()
    AND endsWith(engine, 'MergeTree')
    AND name IN (SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'tenant')
ORDER BY name
"""


def tenant_filters(database: str, tables: Iterable[str], tenant: str) -> str:
    """Return the value of `additional_table_filters` that leaves only the rows of `tenant`."""
    condition = f"tenant = {_quoted(tenant)}"
    pairs = (f"{_quoted(f'{database}.{table}')}: {_quoted(condition)}" for table in tables)
    return "{" + ", ".join(pairs) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_CONNECT_TIMEOUT_S: Final = 5.0
#: ClickHouse ends a query itself, with a better message; this is for one that does not.
_MARGIN_S: Final = 3.0
#: An error's text can hold the whole query.
_ERROR_BYTES: Final = 16 * 1024
#: Tables are made by migrations alone, at the start of a process.
_TABLES_FRESH_S: Final = 60.0
_OUR_OWN_TIMEOUT_S: Final = 5.0

#: Every sort key says which partition a row is in, so that no row of one replaces a row of another: FINAL may
#: look at each partition alone, and reads a closed day, which is one part (see `stages_raw`), as it stands.
_PARTITIONS_ALONE: Final = {"do_not_merge_across_partitions_select_final": "1"}

_READ_ONLY: Final = "SELECT getSetting('readonly') AS readonly"


class ReaderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one query: its time, rows and unformatted bytes of its result, memory in ClickHouse."""

    timeout_s: float
    result_rows: int
    result_bytes: int
    memory_bytes: int


class ReaderQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A statement of the catalogue, never a caller's, with checked values; an empty tenant is everybody."""

    sql: str
    parameters: Mapping[str, Any]
    tenant: str
    output: ResultFormat


class QueryResult:
    """A result that ClickHouse has completed; it is fetched while it is read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes; `ClickHouseUnavailable` where the connection broke, or fell silent."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as fault:
            raise ClickHouseUnavailable(f"ClickHouse broke off a result: {fault!r}") from fault


class AnalystReader:
    """Runs queries as a user who can only read. It connects at its first query.

    The URL is ``http://user:password@host:port`` of that user; any other raises `ConfigurationError`.
    """

    def __init__(
        self, url: str, *, database: str, limits: ReaderLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                "HEADRACE_CLICKHOUSE_READER_URL must be http://user:password@host:port of a user who can "
                "only read; deploy/clickhouse/reader.sql makes one"
            )
        self._url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
        self._headers = {
            "X-ClickHouse-User": unquote(parts.username or "default"),
            "X-ClickHouse-Key": unquote(parts.password or ""),
            "Accept-Encoding": "identity",
        }
        self._database = database
        self._limits = limits
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._only_reads = False
        self._tables: tuple[str, ...] = ()
        self._tables_at = -math.inf

    async def close(self) -> None:
        """Close the connections; what still runs is cancelled."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def ask(self, question: ReaderQuery) -> AsyncIterator[QueryResult]:
        """Run a query, and hold the result while the block runs; leaving the block early cancels the query.

        ClickHouse sends nothing before it has the whole result, so that what goes wrong in a query is known
        before the first byte. `QueryFault` says why there is no answer.
        """
        await self._require_only_reading()
        settings = {
            "max_execution_time": str(max(1, math.ceil(self._limits.timeout_s))),
            "max_result_rows": str(self._limits.result_rows),
            "max_result_bytes": str(self._limits.result_bytes),
            "max_memory_usage": str(self._limits.memory_bytes),
            "result_overflow_mode": "throw",
            "timeout_overflow_mode": "throw",
            **_PARTITIONS_ALONE,
            **question.output.settings,
            "cancel_http_readonly_queries_on_client_close": "1",
        }
        if question.tenant:
            tables = await self._tables_with_tenant()
            settings["additional_table_filters"] = tenant_filters(self._database, tables, question.tenant)
        parameters = {
            f"param_{name}": format_bind_value(value) for name, value in question.parameters.items()
        }
        timeout_s = self._limits.timeout_s + _MARGIN_S
        async with self._posted(
            question.sql, {**settings, **parameters}, question.output.clickhouse, timeout_s
        ) as response:
            yield QueryResult(response)

    async def _require_only_reading(self) -> None:
        if self._only_reads:
            return
        rows = await self._rows(_READ_ONLY)
        if int(rows[0]["readonly"]) == 0:
            raise QueryFault(
                Reason.MISCONFIGURED,
                "the user in HEADRACE_CLICKHOUSE_READER_URL can write (its setting readonly is 0): "
                "deploy/clickhouse/reader.sql makes one that cannot",
            )
        self._only_reads = True

    async def _tables_with_tenant(self) -> tuple[str, ...]:
        if self._clock() - self._tables_at >= _TABLES_FRESH_S:
            tables = tuple(str(row["name"]) for row in await self._rows(TABLES_WITH_TENANT))
            if not tables:
                raise QueryFault(Reason.NOT_READY, f"the database {self._database} has no tables yet")
            self._tables, self._tables_at = tables, self._clock()
        return self._tables

    async def _rows(self, sql: str) -> list[dict[str, Any]]:
        async with self._posted(sql, {}, "JSONEachRow", _OUR_OWN_TIMEOUT_S) as response:
            pieces = [piece async for piece in QueryResult(response).pieces()]
        return [json.loads(line) for line in b"".join(pieces).splitlines()]

    @asynccontextmanager
    async def _posted(
        self, sql: str, query: Mapping[str, str], output_format: str, timeout_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """POST a statement; the block has the response once its status is 200."""
        query = {
            "database": self._database,
            "default_format": output_format,
            "query_id": f"headrace-analyst-{uuid.uuid4()}",
            "session_timezone": "UTC",
            "wait_end_of_query": "1",
            **query,
        }
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout_s):
                    request = self._connected().post(
                        self._url, params=query, data=sql.encode(), headers=self._headers
                    )
                    response = await stack.enter_async_context(request)
                    if response.status != 200:
                        raise await _fault(response)
            except aiohttp.ClientError as fault:  # a connection's time-out too
                raise ClickHouseUnavailable(f"ClickHouse at {self._url}: {fault!r}") from fault
            except TimeoutError as fault:
                raise QueryFault(Reason.TOO_SLOW, f"no answer within {timeout_s:g} s") from fault
            except OSError as fault:
                raise ClickHouseUnavailable(f"ClickHouse at {self._url}: {fault!r}") from fault
            yield response

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Of a body alone: until it begins, the shorter limit of `_posted` says what is the matter.
            silence_s = self._limits.timeout_s + 2 * _MARGIN_S
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_TIMEOUT_S, sock_read=silence_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


async def _fault(response: aiohttp.ClientResponse) -> QueryFault:
    text = (await response.content.read(_ERROR_BYTES)).decode(errors="replace").strip()
    code = response.headers.get("X-ClickHouse-Exception-Code", "")
    if not code.isdecimal():
        return QueryFault(Reason.MISCONFIGURED if response.status in (401, 403) else Reason.BROKEN, text)
    if int(code) == _MEMORY_LIMIT_EXCEEDED and "(total)" in text:
        return QueryFault(Reason.BUSY, text)  # the server's limit: others' queries and inserts count too
    return QueryFault(_REASONS.get(int(code), Reason.BROKEN), text)

"""What the analysts' views say: one row per request, one per call. Streamed, and asked for again by id."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from itertools import islice

import httpx
import msgspec

from headrace.ops.audit.evidence.records import Call, ClickHouseBooks, Row, Window, nano_usd
from streams.errors import ClickHouseUnavailable

_CONNECT_TIMEOUT_S = 5.0
_IDS_A_QUERY = 500  # ClickHouse parses 256 KiB of a query; an id is up to 128 characters long
#: `accepted_at` may lie before the record was written, by as much as ingest's publishing took.
_SLACK_MS = 60_000

_ROWS = "SELECT request_id, toUnixTimestamp64Milli(accepted_at), status, toString(cost_usd) FROM requests"
_CALLS = (
    "SELECT call_id, request_id, toString(cost_usd), error, finish_reason, shadow, orphaned, "
    "usage_estimated, input_tokens, output_tokens FROM llm_calls"
)
_WITHIN = (
    " WHERE accepted_at >= fromUnixTimestamp64Milli({since:Int64}) AND accepted_at < "
    "fromUnixTimestamp64Milli({until:Int64})"
)
_FAR_MS = 5_000_000_000_000  # 2128: later than any row, within what the column holds

_row = msgspec.json.Decoder(tuple[str, str | int, str, str])
_call = msgspec.json.Decoder(tuple[str, str, str, str | None, str, bool, bool, bool, int, int])


class ClickHouseReader:
    """Reads the views over ClickHouse's HTTP interface.

    Every method raises `ClickHouseUnavailable` where the server does not answer in time, or refuses.

    Args:
        client: with a bound on every call; it is closed by its owner.
        url: ``http://user:password@host:port``.
        database: where the views are.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, *, database: str) -> None:
        self._client = client
        self._url = url
        self._database = database

    async def read(self, window: Window) -> ClickHouseBooks:
        """Return the rows and calls of the requests that were accepted in the window."""
        books = ClickHouseBooks()
        bounds = {
            "since": window.since_ms - _SLACK_MS,
            "until": _FAR_MS if window.until_ms is None else window.until_ms,
        }
        async for line in self._lines(_ROWS + _WITHIN, bounds):
            _enter_row(books, line)
        async for line in self._lines(_CALLS + _WITHIN, bounds):
            _enter_call(books, line)
        return books

    async def add_requests(self, books: ClickHouseBooks, request_ids: Collection[str]) -> None:
        """Add the rows and calls of these requests, whenever they were accepted."""
        for ids in _batches([each for each in request_ids if each not in books.rows]):
            among = f" WHERE request_id IN ({_literals(ids)})"
            async for line in self._lines(_ROWS + among):
                _enter_row(books, line)
            async for line in self._lines(_CALLS + among):
                _enter_call(books, line, again=True)

    async def add_calls(self, books: ClickHouseBooks, call_ids: Collection[str], *, since_ms: int) -> None:
        """Add these calls, of whatever request that was accepted at or after `since_ms`."""
        later = " WHERE accepted_at >= fromUnixTimestamp64Milli({since:Int64})"
        for ids in _batches([each for each in call_ids if each not in books.calls]):
            query = f"{_CALLS}{later} AND call_id IN ({_literals(ids)})"
            async for line in self._lines(query, {"since": since_ms}):
                _enter_call(books, line)

    async def _lines(self, query: str, numbers: Mapping[str, int] | None = None) -> AsyncIterator[str]:
        parameters = {
            "database": self._database,
            "default_format": "JSONCompactEachRow",
            **{f"param_{name}": str(value) for name, value in (numbers or {}).items()},
        }
        try:
            async with self._client.stream("POST", self._url, params=parameters, content=query) as response:
                if response.status_code != httpx.codes.OK:
                    text = (await response.aread()).decode(errors="replace")
                    raise ClickHouseUnavailable(f"{self._where}: {text[:300]}")
                async for line in response.aiter_lines():
                    if line:
                        yield line
        except httpx.HTTPError as fault:
            raise ClickHouseUnavailable(f"{self._where}: {fault!r}") from fault

    @property
    def _where(self) -> str:
        return f"ClickHouse at {self._url.rpartition('@')[2]}"  # without the password


def client(timeout_s: float) -> httpx.AsyncClient:
    """Return an HTTP client whose calls end where nothing comes for `timeout_s` seconds."""
    return httpx.AsyncClient(timeout=httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S))


def _enter_row(books: ClickHouseBooks, line: str) -> None:
    request_id, accepted_at_ms, status, cost = _row.decode(line)
    known = books.rows.get(request_id)
    if known is not None:
        known.rows += 1
        known.cost_nano += nano_usd(cost)
        return
    books.rows[request_id] = Row(accepted_at_ms=int(accepted_at_ms), status=status, cost_nano=nano_usd(cost))


def _enter_call(books: ClickHouseBooks, line: str, *, again: bool = False) -> None:
    call_id, request_id, cost, error, finish_reason, shadow, orphaned, estimated, sent, written = (
        _call.decode(line)
    )
    if call_id in books.calls and not again:
        books.doubled.add(call_id)
    books.calls[call_id] = Call(
        request_id=request_id,
        cost_nano=nano_usd(cost),
        error=error,
        finish_reason=finish_reason,
        shadow=shadow,
        orphaned=orphaned,
        estimated=estimated,
        input_tokens=sent,
        output_tokens=written,
    )


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, _IDS_A_QUERY)):
        yield batch


def _literals(ids: Sequence[str]) -> str:
    """Return ids as string literals of ClickHouse: quoted, quotes and backslashes escaped.

    Not as a parameter: those travel in the URL, which is too short for five hundred ids.
    """
    quoted = (each.replace("\\", "\\\\").replace("'", "\\'") for each in ids)
    return ",".join(f"'{each}'" for each in quoted)

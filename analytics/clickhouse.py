"""A ClickHouse client that connects when it is first used, with Headrace's exceptions.

The client library is synchronous and runs in threads of its own, so that encoding a large insert does not
block the event loop, whose heartbeats keep the sink in its consumer group.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final, TypeVar

import clickhouse_connect
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, Error

from streams.errors import ClickHouseUnavailable, InputError

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5.0

#: Error codes that blame the inserted data, from ClickHouse's `src/Common/ErrorCodes.cpp`. Every other
#: code is taken as a fault that passes (or that an operator ends), because giving up on rows for a
#: missing table or a full disk would lose them.
_DATA_ERRORS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)

_TABLE_ALREADY_EXISTS = 57

#: Inserts must be synchronous: `async_insert` has been on by default since ClickHouse 26, and it answers
#: to its own deduplication.
_INSERT_SETTINGS: Mapping[str, object] = {"async_insert": 0, "insert_deduplicate": 1}

#: The share of a statement's time that an insert may wait for other replicas.
_QUORUM_SHARE = 0.8


def skip_dataframe_imports() -> None:
    """Make the client library believe that pandas and pyarrow are not installed.

    It imports both at its first insert, only to check for data frames: 1.9 s and 80 MB. For processes that
    insert rows only.
    """
    for name in ("pd", "pd_time_test", "arrow", "pl"):
        vars(options).setdefault(name, None)


def instant(at: datetime) -> str:
    """Return a time as ClickHouse reads it in UTC; the client library would cut it to whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class RowsRefused(InputError):
    """ClickHouse, or the client's encoder, refuses at least one of the rows: a retry will not help."""


class TableExists(ClickHouseUnavailable):
    """A table of that name exists already; it may be gone at the next try."""


class ClickHouse:
    """A connection to one database of a ClickHouse server.

    Every method raises `ClickHouseUnavailable` where the server does not answer in time, or answers with
    an error that is not the data's.

    `database` None is the user's default; `threads` is how many statements may run at once, and `timeout_s`
    bounds one. `cluster` names the replicas that the tables are on (empty: one server), and `quorum` how many
    of them must have a row before it counts as stored: a number, or ``auto`` for the majority.
    """

    def __init__(
        self,
        url: str,
        *,
        database: str | None,
        timeout_s: float,
        threads: int = 4,
        cluster: str = "",
        quorum: str = "auto",
    ) -> None:
        self.cluster = cluster
        self.insert_settings = dict(_INSERT_SETTINGS)
        if cluster:
            # One that has not reached them in time is tried again under the same token, and waits for them.
            waited_ms = int(timeout_s * 1000 * _QUORUM_SHARE)
            self.insert_settings |= {"insert_quorum": quorum, "insert_quorum_timeout": waited_ms}
        self._url = url
        self._database = database
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._connecting = Lock()
        self._layouts: dict[tuple[str, Sequence[str]], Sequence[ClickHouseType]] = {}
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="clickhouse")

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""
        await self._run(lambda client: client.command(statement, parameters=dict(parameters or {})))

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query and return its rows, each by column name."""
        return await self._run(
            lambda client: list(client.query(sql, parameters=dict(parameters or {})).named_results())
        )

    async def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, token: str
    ) -> None:
        """Insert rows; a second insert with the same `token` changes nothing.

        It raises `RowsRefused` if a row does not fit. The types of `columns` are asked for once.
        """
        await self._run(lambda client: self._insert(client, table, columns, rows, token))

    async def close(self) -> None:
        """Close the connections. Statements that still run are not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _run(self, call: Callable[[Client], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, call)

    def _call(self, call: Callable[[Client], T]) -> T:
        try:
            return call(self._connected())
        except (ClickHouseError, OSError) as fault:
            where = self._url.rpartition("@")[2]  # without the password
            exists = isinstance(fault, Error) and fault.code == _TABLE_ALREADY_EXISTS
            raise (TableExists if exists else ClickHouseUnavailable)(
                f"ClickHouse at {where}: {fault}"
            ) from fault

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = clickhouse_connect.get_client(
                    dsn=self._url,
                    database=self._database,
                    compress="lz4",
                    connect_timeout=int(_CONNECT_TIMEOUT_S),
                    send_receive_timeout=int(self._timeout_s),
                    autogenerate_session_id=False,  # sessions allow one statement at a time
                )
            return self._client

    def _insert(
        self, client: Client, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], token: str
    ) -> None:
        types = self._types(client, table, columns)
        settings = {**self.insert_settings, "insert_deduplication_token": token}
        # The client library's own record of an insert refers to itself. It would keep the rows, tens of MiB,
        # until Python looks for cycles: this list of them we can empty.
        handed = list(rows)
        try:  # nothing but the insert: a fault of ours must not look like one of the rows
            client.insert(table, handed, column_names=columns, column_types=types, settings=settings)
        except (ArithmeticError, TypeError, ValueError, AttributeError) as fault:  # the encoder's
            raise RowsRefused(f"{table}: a value does not fit its column: {fault}") from fault
        except ClickHouseError as fault:
            blames_data = isinstance(fault, Error) and fault.code in _DATA_ERRORS
            if blames_data or isinstance(fault, DataError):  # the server, or the encoder
                raise RowsRefused(f"{table}: {fault}") from fault
            self._layouts.pop((table, tuple(columns)), None)  # the table may have changed
            raise
        finally:
            handed.clear()

    def _types(self, client: Client, table: str, columns: Sequence[str]) -> Sequence[ClickHouseType]:
        layout = (table, tuple(columns))
        types = self._layouts.get(layout)
        if types is None:
            types = client.create_insert_context(table, list(columns)).column_types
            self._layouts[layout] = types
        return types


_SINCE, _UNTIL = "{since:DateTime64(6, 'UTC')}", "{until:DateTime64(6, 'UTC')}"

#: Macros in the catalogue's SQL: ``$window(r)`` becomes the conditions on time and tenant of the table alias
#: ``r``. ``%1`` and ``%2`` are the arguments, which hold neither commas nor parentheses.
MACROS: Final[Mapping[str, str]] = {
    # ── conditions ──
    "tenant": "({tenant:String} = '' OR %1.tenant = {tenant:String})",
    "window": f"%1.accepted_at >= {_SINCE}\nAND %1.accepted_at < {_UNTIL}\nAND $tenant(%1)",
    # Rows of rollups by the hour, and by the day: part whole_hours, part whole_days.
    "hours": "%1.day >= toDate(first_hour)\nAND %1.day <= toDate(end_hour)\n"
    "AND %1.hour >= first_hour\nAND %1.hour < end_hour",
    "days": "%1.day >= first_day\nAND %1.day < end_day\nAND $tenant(%1)",
    # Rows of the partial hours, or days, at the ends of the window.
    "partial_hours": "$window(%1)\nAND (%1.accepted_at < first_hour OR %1.accepted_at >= end_hour)",
    "partial_days": "$window(%1)\nAND (%1.accepted_at < first_day_at OR %1.accepted_at >= end_day_at)",
    "equals": "({%2:String} = '' OR %1.%2 = {%2:String})",
    "filters": "$equals(%1, model)\nAND $equals(%1, prompt_template)\nAND $equals(%1, prompt_version)\n"
    "AND $equals(%1, experiment)",
    # ── percentiles ──
    # Of rollups: the relative error (1 %), then the levels.
    "levels": "0.01, 0.5, 0.95, 0.99",
    "percentiles": "quantileExact(0.5)(%1) AS p50_%2,\nquantileExact(0.95)(%1) AS p95_%2,\n"
    "quantileExact(0.99)(%1) AS p99_%2",
    "median_and_p95": "quantileExact(0.5)(%1) AS p50_%2,\nquantileExact(0.95)(%1) AS p95_%2",
    # Of a sketch in microseconds: %1 is f.%1_us_sketch.
    "sketch_percentiles": "(quantilesDDMerge($levels())(f.%1_us_sketch) AS %1_us)[1] / 1000 AS p50_%1_ms,\n"
    "%1_us[2] / 1000 AS p95_%1_ms,\n%1_us[3] / 1000 AS p99_%1_ms",
    # Of the requests' own latencies (g.own_sketch) together with those of whole hours (l.latency_ms_sketch).
    "own_sketch": "quantilesDDStateIf($levels())(\n    assumeNotNull(f.latency_ms), "
    "f.latency_ms IS NOT NULL\n)",
    "joined_latency": "(\n    arrayMap(\n        one -> if(isNaN(one), NULL, one), "
    "finalizeAggregation(g.own_sketch + l.latency_ms_sketch)\n    ) AS latency_ms\n)[1] AS p50_latency_ms,\n"
    "latency_ms[2] AS p95_latency_ms",
    "hour_sketch": "quantilesDDMergeState($levels())(f.latency_ms_sketch)",
}

_CALL: Final = re.compile(r"\$([a-z][a-z0-9_]*)\(([^()]*)\)")


def expanded(sql: str) -> str:
    """Return a statement with its macros replaced and indented; `ValueError` for an unknown one."""
    while (call := _CALL.search(sql)) is not None:
        sql = sql[: call.start()] + _text(call, sql) + sql[call.end() :]
    return sql


def _text(call: re.Match[str], sql: str) -> str:
    text = MACROS.get(call[1])
    if text is None:
        raise ValueError(f"there is no macro ${call[1]}; there are: {', '.join(MACROS)}")
    for number, argument in enumerate(call[2].split(","), start=1):
        text = text.replace(f"%{number}", argument.strip())
    line = sql[sql.rfind("\n", 0, call.start()) + 1 : call.start()]
    indent = " " * (len(line) - len(line.lstrip()))
    if line.lstrip().startswith("WHERE "):
        indent += "    "
    return text.replace("\n", f"\n{indent}")

"""The official client, clickhouse-connect, works as against a server."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from ipaddress import IPv4Address

import clickhouse_connect
import pandas as pd
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from headrace.embedded.clickhouse import EmbeddedClickHouse

pytestmark = pytest.mark.integration

TYPES = {
    "id": ("UInt64", [1, 2]),
    "cost": ("Decimal(18, 9)", [Decimal("0.000000001"), Decimal("-123456789.987654321")]),
    "at": (
        "DateTime64(6, 'UTC')",
        [dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC), dt.datetime(1970, 1, 1, tzinfo=dt.UTC)],
    ),
    "day": ("Date", [dt.date(2026, 1, 2), dt.date(1970, 1, 1)]),
    "model": ("LowCardinality(String)", ["gpt", "it's \\ \t\n\0 ü 漢"]),
    "score": ("Nullable(Float64)", [None, 0.25]),
    "calls": ("Array(Tuple(String, UInt32))", [[("a", 1), ("b", 2)], []]),
    "labels": ("Map(String, String)", [{"k": "v"}, {}]),
    "request": ("UUID", [uuid.UUID(int=1), uuid.UUID(int=2**128 - 1)]),
    "state": ("Enum8('ok' = 1, 'failed' = 2)", ["ok", "failed"]),
    "ip": ("IPv4", [IPv4Address("10.0.0.1"), IPv4Address("0.0.0.0")]),  # noqa: S104 - a value
    "tags": ("Array(LowCardinality(Nullable(String)))", [["x", None], []]),
    "big": ("UInt256", [2**255, 0]),
    "flag": ("Bool", [True, False]),
    "doc": ("JSON", [{"a": 1, "b": ["x"]}, {}]),
}


def test_values_of_every_type_come_back(client: Client, table: str) -> None:
    """What is inserted is what is read, for each type that the schema may use."""
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    client.command(f"CREATE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY id")
    rows = list(zip(*(values for _, values in TYPES.values()), strict=True))
    client.insert(table, rows, column_names=list(TYPES))
    result = client.query(f"SELECT * FROM {table} ORDER BY id", tz_mode="aware")
    assert result.result_rows == rows


def test_small_inserts_of_any_bytes_come_back(client: Client, table: str) -> None:
    """Two line feeds within small data, as ten rows of ten make them, do not end the data."""
    client.command(f"CREATE TABLE {table} (a UInt8, s String) ENGINE = MergeTree ORDER BY tuple()")
    inserted = [(10, text) for text in ("\n\n", "a\n\nb", "\r\n\r\n", "", ";\n\n;", "\n" * 10)]
    for count in range(1, 13):
        client.insert(table, inserted * count, column_names=["a", "s"])
    read = client.query(f"SELECT a, s FROM {table}").result_rows
    assert sorted(read) == sorted(inserted * sum(range(1, 13)))


@pytest.mark.parametrize("settings", ["", "SETTINGS async_insert = 0"])
def test_rows_that_the_table_refuses_are_refused_to_the_client(
    client: Client, table: str, settings: str
) -> None:
    """No acknowledgement without the rows, also where the fault comes after parsing."""
    client.command(
        f"CREATE TABLE {table} (a Int64, CONSTRAINT positive CHECK a > 0) ENGINE = MergeTree ORDER BY a"
    )
    client.raw_insert(table, insert_block=b"1\n2\n", fmt="TSV")
    with pytest.raises(DatabaseError, match="469"):
        client.command(f"INSERT INTO {table} (a) {settings} FORMAT TSV", data="3\n-4\n")
    with pytest.raises(DatabaseError, match="469"):
        client.command(f"INSERT INTO {table} {settings} VALUES (5), (-6)")
    assert client.query(f"SELECT sum(a) FROM {table}").result_rows == [(3,)]


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", False])
def test_inserts_and_reads_with_each_compression(
    server: EmbeddedClickHouse, table: str, compression: str | bool
) -> None:
    """Requests and responses may be compressed in any way that the client offers."""
    with clickhouse_connect.get_client(dsn=server.endpoint, compress=compression) as client:
        client.command(f"CREATE TABLE {table} (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
        summary = client.insert(table, [[n, "x" * 50] for n in range(5000)], column_names=["a", "s"])
        assert summary.written_rows == 5000
        rows = client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows
    assert rows == [(n, "x" * 50) for n in range(5000)]


def test_data_frames_and_arrow_in_and_out(client: Client, table: str) -> None:
    """insert_df, insert_arrow, query_df and query_arrow."""
    client.command(f"CREATE TABLE {table} (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    client.insert_df(table, pd.DataFrame({"a": [1, 2], "s": ["x", "y"]}))
    client.insert_arrow(table, pa.table({"a": pa.array([3], pa.int64()), "s": ["z"]}))
    frame = client.query_df(f"SELECT * FROM {table} ORDER BY a")
    assert frame["a"].tolist() == [1, 2, 3]
    assert frame["s"].tolist() == ["x", "y", "z"]
    arrow = client.query_arrow(f"SELECT a FROM {table} ORDER BY a")
    assert arrow.column("a").to_pylist() == [1, 2, 3]


def test_streams_of_blocks_rows_and_frames(client: Client) -> None:
    """The streaming reads deliver every row once."""
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(300000)"
    with client.query_row_block_stream(sql) as blocks:
        counts = [len(block) for block in blocks]
    assert sum(counts) == 300_000
    assert len(counts) > 1
    with client.query_df_stream(sql) as frames:
        assert sum(int(frame["n"].sum()) for frame in frames) == 300_000 * 299_999 // 2
    with client.query_arrow_stream(sql) as tables:
        assert sum(part.num_rows for part in tables) == 300_000


def test_raw_query_raw_stream_and_raw_insert(client: Client, table: str) -> None:
    """Bytes of any format go through unchanged."""
    client.command(f"CREATE TABLE {table} (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    client.raw_insert(table, column_names=["a", "s"], insert_block=b"1,one\n2,two\n", fmt="CSV")
    assert client.raw_query(f"SELECT * FROM {table} ORDER BY a", fmt="TSV") == b"1\tone\n2\ttwo\n"
    with client.raw_stream(f"SELECT a FROM {table} ORDER BY a", fmt="JSONEachRow") as stream:
        assert stream.read() == b'{"a":1}\n{"a":2}\n'


def test_server_side_parameters(client: Client) -> None:
    """``{name:Type}`` binds on the server, so values cannot become SQL."""
    hostile = "x'; DROP TABLE t; --\\\t\n"
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    result = client.query(
        "SELECT {n:UInt64} + 1, {s:String}, {xs:Array(String)}, {d:DateTime('UTC')}, {m:Nullable(String)}",
        parameters={"n": 41, "s": hostile, "xs": ["a", "b'"], "d": at, "m": None},
        tz_mode="aware",
    )
    assert result.result_rows == [(42, hostile, ["a", "b'"], at, None)]


def test_settings_of_a_query_end_with_it(client: Client) -> None:
    """Settings given with one query hold for it alone."""
    read = "SELECT getSetting('max_block_size')"
    before = client.command(read)
    assert client.command(read, settings={"max_block_size": 11}) == 11
    assert client.command(read) == before
    with pytest.raises(DatabaseError, match="TOO_MANY_ROWS_OR_BYTES"):
        client.query("SELECT * FROM numbers(10)", settings={"max_result_rows": 3})
    assert len(client.query("SELECT * FROM numbers(10)").result_rows) == 10


@pytest.mark.parametrize("sql", ["SET max_block_size = 77", "USE system"])
def test_what_only_a_session_would_keep_is_refused(client: Client, sql: str) -> None:
    """The client's `session_id` is ignored: nothing that it would keep is lost without a word."""
    with pytest.raises(DatabaseError, match="NOT_IMPLEMENTED"):
        client.command(sql)


def test_a_temporary_table_ends_with_its_query(client: Client) -> None:
    """It can be made, and is not there for the next query."""
    client.command("CREATE TEMPORARY TABLE mine (a Int8)")
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.command("SELECT sum(a) FROM mine")


def test_several_databases(client: Client, server: EmbeddedClickHouse, table: str) -> None:
    """The client's database is where unqualified names are looked up."""
    client.command(f"CREATE DATABASE {table}")
    client.command(f"CREATE TABLE {table}.here (a Int8) ENGINE = MergeTree ORDER BY a")
    with clickhouse_connect.get_client(dsn=server.endpoint, database=table) as inside:
        inside.insert("here", [[5]], column_names=["a"])
        assert inside.command("SELECT a FROM here") == 5
        assert inside.command("SELECT currentDatabase()") == table
    assert client.command("SELECT currentDatabase()") == "default"
    client.command(f"DROP DATABASE {table}")


def test_long_parameters(client: Client) -> None:
    """The client sends them as a form rather than in the URL."""
    values = [str(number) for number in range(20_000)]
    sql = "SELECT length({xs:Array(String)}), {n:UInt8}"
    assert client.query(sql, parameters={"xs": values, "n": 7}).result_rows == [(20_000, 7)]


def test_ping_and_summary(client: Client, table: str) -> None:
    """Ping answers, and the summary has the figures of the query."""
    assert client.ping()
    client.command(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.command(f"INSERT INTO {table} SELECT number FROM numbers(1234)")
    result = client.query(f"SELECT sum(a) FROM {table} WHERE NOT ignore(a)")
    assert int(result.summary["read_rows"]) == 1234
    assert int(result.summary["elapsed_ns"]) > 0


def test_an_error_carries_its_code(client: Client) -> None:
    """Errors are the engine's, with code and name; the client goes on."""
    with pytest.raises(DatabaseError, match=r"Code: 60\..*UNKNOWN_TABLE"):
        client.query("SELECT * FROM no_such_table")
    assert client.command("SELECT 1") == 1


def test_an_error_in_mid_stream_is_raised(client: Client) -> None:
    """A failure after the first megabytes is an exception, not a short result."""
    sql = "SELECT throwIf(number = 3000000, 'stop') AS x, toString(number) FROM numbers(4000000)"
    with pytest.raises(Exception, match="stop"), client.query_row_block_stream(sql) as blocks:
        for _ in blocks:
            pass
    assert client.command("SELECT 1") == 1


async def test_the_asynchronous_client(server: EmbeddedClickHouse, table: str) -> None:
    """The async client inserts, reads and streams."""
    client = await clickhouse_connect.get_async_client(dsn=server.endpoint)
    async with client:
        await client.command(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
        await client.insert(table, [[n] for n in range(1000)], column_names=["a"])
        result = await client.query(f"SELECT count(), sum(a) FROM {table}")
        assert result.result_rows == [(1000, 499_500)]
        async with await client.query_row_block_stream("SELECT number FROM numbers(200000)") as blocks:
            assert sum([len(block) async for block in blocks]) == 200_000

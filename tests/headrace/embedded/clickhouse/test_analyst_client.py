"""What analysts do with clickhouse-connect, as the user who can only read, works as against a server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import clickhouse_connect
import pandas as pd
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError

from headrace.embedded.clickhouse import EmbeddedClickHouse
from headrace.embedded.clickhouse.http_query import READER_LIMITS
from tests.headrace.embedded.clickhouse.conftest import READER_PASSWORD

pytestmark = pytest.mark.integration

DAY = dt.date(2026, 11, 20)
ROWS = 50_000


@pytest.fixture(scope="module")
def costs(server: EmbeddedClickHouse) -> Iterator[str]:
    """A table of requests and what they cost, behind a deduplicated view, as the analysts' views are."""
    with clickhouse_connect.get_client(dsn=server.endpoint) as owner:
        owner.command("CREATE DATABASE analysts")
        owner.command(
            "CREATE TABLE analysts.costs_raw (request_id UInt64, model LowCardinality(String), "
            "usd Decimal(18, 9), at DateTime64(6, 'UTC'), similarity Nullable(Float64)) "
            "ENGINE = ReplacingMergeTree ORDER BY request_id"
        )
        for _ in range(2):  # every row twice
            owner.command(
                "INSERT INTO analysts.costs_raw SELECT number, ['gpt-4o', 'claude'][number % 2 + 1], "
                "toDecimal64('0.000000001', 9) * number, "
                "toDateTime64('2026-11-20 00:00:00.000001', 6, 'UTC') + toIntervalSecond(number), "
                f"if(number % 10 = 0, NULL, number / {ROWS}) FROM numbers({ROWS})"
            )
        owner.command("CREATE VIEW analysts.costs AS SELECT * FROM analysts.costs_raw FINAL")
        yield "costs"
        owner.command("DROP DATABASE analysts")


@pytest.fixture
def analyst(server: EmbeddedClickHouse, costs: str) -> Iterator[Client]:
    """A client as an analyst makes it: with defaults."""
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, username="reader", password=READER_PASSWORD, database="analysts"
    ) as client:
        yield client


def test_a_url_is_enough(server: EmbeddedClickHouse, costs: str) -> None:
    """The one that `headrace up` writes into endpoints.json, with the database behind it."""
    dsn = f"http://reader:{READER_PASSWORD}@127.0.0.1:{server.port}/analysts"
    with clickhouse_connect.get_client(dsn=dsn) as client:
        assert client.command(f"SELECT count() FROM {costs}") == ROWS
        assert client.ping()


def test_sums_are_exact_decimals(analyst: Client) -> None:
    """Each request once, to the last digit, as `Decimal`."""
    [(total, count)] = analyst.query("SELECT sum(usd), count() FROM costs").result_rows
    assert total == Decimal(ROWS * (ROWS - 1) // 2) / 10**9
    assert count == ROWS


def test_query_df(analyst: Client) -> None:
    """Types that pandas can reckon with: decimals, times with their zone, missing values."""
    frame = analyst.query_df("SELECT * FROM costs ORDER BY request_id", tz_mode="aware")
    assert len(frame) == ROWS
    assert frame["usd"].sum() == Decimal(ROWS * (ROWS - 1) // 2) / 10**9
    assert frame["at"].iloc[0] == pd.Timestamp("2026-11-20T00:00:00.000001Z")
    assert int(frame["similarity"].isna().sum()) == ROWS // 10
    counts = frame.groupby("model")["request_id"].count().to_dict()
    assert counts == {"gpt-4o": ROWS // 2, "claude": ROWS // 2}


def test_query_arrow(analyst: Client) -> None:
    """Exact decimals, strings as strings, and nulls."""
    table = analyst.query_arrow("SELECT * FROM costs ORDER BY request_id")
    assert table.num_rows == ROWS
    assert sum(table.column("usd").to_pylist()) == Decimal(ROWS * (ROWS - 1) // 2) / 10**9
    assert table.column("model").to_pylist()[:2] == ["gpt-4o", "claude"]
    assert table.column("similarity").null_count == ROWS // 10


def test_streams(analyst: Client) -> None:
    """Blocks of columns, of rows, single rows, frames and Arrow tables: every request once."""
    sql = "SELECT request_id, usd FROM costs"
    expected = ROWS * (ROWS - 1) // 2
    with analyst.query_column_block_stream(sql) as columns:
        assert sum(sum(ids) for ids, _ in columns) == expected
    with analyst.query_row_block_stream(sql) as blocks:
        assert sum(row[0] for block in blocks for row in block) == expected
    with analyst.query_rows_stream(sql) as rows:
        assert sum(row[0] for row in rows) == expected
    with analyst.query_df_stream(sql) as frames:
        assert sum(int(frame["request_id"].sum()) for frame in frames) == expected
    with analyst.query_arrow_stream(sql) as tables:
        assert sum(table.num_rows for table in tables) == ROWS


def test_a_stream_that_is_left_early_leaves_the_client_usable(analyst: Client) -> None:
    """Analysts look at the first rows and go on."""
    with analyst.query_rows_stream("SELECT request_id FROM costs") as rows:
        assert next(iter(rows)) is not None
    assert analyst.command("SELECT count() FROM costs") == ROWS


def test_parameters(analyst: Client) -> None:
    """Bound by the server, each with its type; values never become SQL."""
    found = analyst.query(
        "SELECT count() FROM costs WHERE model = {model:String} AND toDate(at) = {day:Date} "
        "AND request_id IN {ids:Array(UInt64)} AND at < {until:DateTime64(6, 'UTC')}",
        parameters={
            "model": "gpt-4o",
            "day": DAY,
            "ids": [0, 1, 2, 3],
            "until": dt.datetime(2026, 11, 20, 0, 0, 2, tzinfo=dt.UTC),
        },
    )
    assert found.result_rows == [(1,)]
    hostile = "x' OR 1 = 1 --"
    sql = "SELECT count() FROM costs WHERE model = {model:String}"
    assert analyst.query(sql, parameters={"model": hostile}).result_rows == [(0,)]


def test_parameters_bound_by_the_client(analyst: Client) -> None:
    """The older style, ``%(name)s``, is quoted by the client."""
    sql = "SELECT count() FROM costs WHERE model = %(model)s"
    assert analyst.query(sql, parameters={"model": "claude"}).result_rows == [(ROWS // 2,)]
    assert analyst.query(sql, parameters={"model": "x' OR 1 = 1 --"}).result_rows == [(0,)]


def test_columns_have_names_and_types(analyst: Client) -> None:
    """As notebooks and BI tools ask for them."""
    result = analyst.query("SELECT * FROM costs LIMIT 1")
    assert result.column_names == ("request_id", "model", "usd", "at", "similarity")
    assert [kind.name for kind in result.column_types] == [
        "UInt64", "LowCardinality(String)", "Decimal(18, 9)", "DateTime64(6, 'UTC')", "Nullable(Float64)",
    ]  # fmt: skip
    described = analyst.query("DESCRIBE TABLE costs").result_rows
    assert [row[0] for row in described] == list(result.column_names)
    assert ("costs",) in analyst.query("SHOW TABLES").result_rows


def test_the_limits_stay(analyst: Client) -> None:
    """The client sees that the user's settings are fixed, and says so before it sends any."""
    with pytest.raises(ProgrammingError, match="max_execution_time is readonly"):
        analyst.query("SELECT 1", settings={"max_execution_time": 3_600})
    with pytest.raises(DatabaseError, match="READONLY"):
        analyst.query("SELECT 1 SETTINGS max_execution_time = 3600")
    assert analyst.command("SELECT getSetting('max_execution_time')") == READER_LIMITS["max_execution_time"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO costs_raw (request_id) VALUES (1)",
        "ALTER TABLE costs_raw DELETE WHERE 1",
        "DROP TABLE costs_raw",
        "CREATE TABLE mine (a Int8) ENGINE = Memory",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM filesystem('/etc')",
        "SELECT * FROM `/etc/passwd`",
        "SELECT * FROM default.`/etc/passwd`",
        "DESCRIBE TABLE url('http://127.0.0.1:1/')",
        "DESCRIBE TABLE S3('http://127.0.0.1:1/bucket/key')",
        "EXPLAIN SELECT * FROM (SELECT * FROM view(SELECT * FROM urlCluster('c', 'http://127.0.0.1:1/')))",
        "SYSTEM STOP MERGES",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "BACKUP TABLE costs_raw TO File('/tmp/headrace-backup')",
        "SET readonly = 0",
    ],
)
def test_nothing_can_be_written_stopped_or_read_beside_the_tables(analyst: Client, sql: str) -> None:
    """Whatever is tried, the rows are as they were."""
    with pytest.raises(DatabaseError):
        analyst.command(sql)
    assert analyst.command("SELECT count() FROM costs") == ROWS


def test_inserts_of_rows_and_frames_are_refused(analyst: Client) -> None:
    """Through the client's own ways too."""
    with pytest.raises(DatabaseError):
        analyst.insert("costs_raw", [[1, "x", Decimal(1), dt.datetime.now(dt.UTC), None]])
    with pytest.raises(DatabaseError):
        analyst.insert_df("costs_raw", pd.DataFrame({"request_id": [1]}))
    assert analyst.command("SELECT count() FROM costs") == ROWS


async def test_the_asynchronous_client(server: EmbeddedClickHouse, costs: str) -> None:
    """Frames, Arrow and streams, in notebooks with an event loop."""
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=server.port, username="reader", password=READER_PASSWORD, database="analysts"
    )
    async with client:
        assert len(await client.query_df(f"SELECT * FROM {costs}")) == ROWS
        assert (await client.query_arrow(f"SELECT * FROM {costs}")).num_rows == ROWS
        async with await client.query_row_block_stream(f"SELECT request_id FROM {costs}") as blocks:
            assert sum([len(block) async for block in blocks]) == ROWS


#: Table functions that read our own tables, or nothing at all.
HARMLESS = frozenset({
    "SQLStandardValues", "dictionary", "format", "fuzzJSON", "fuzzQuery", "generateRandom", "generateSeries",
    "generate_series", "loop", "merge", "mergeTreeAnalyzeIndexes", "mergeTreeAnalyzeIndexesUUID",
    "mergeTreeCodecBlockCounts", "mergeTreeIndex", "mergeTreeProjection", "mergeTreeTextIndex", "null",
    "numbers", "numbers_mt", "primes", "prometheusQuery", "prometheusQueryRange", "timeSeriesData",
    "timeSeriesMetricFamilies", "timeSeriesMetrics", "timeSeriesSamples", "timeSeriesSelector",
    "timeSeriesTags", "values", "view", "viewExplain", "viewIfPermitted", "zeros", "zeros_mt",
})  # fmt: skip


def test_every_table_function_is_harmless_or_refused(analyst: Client) -> None:
    """Also one that a later engine brings: then somebody must decide which it is."""
    names = {row[0] for row in analyst.query("SELECT name FROM system.table_functions").result_rows}
    assert len(names) > 50
    for name in sorted(names - HARMLESS):
        with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
            analyst.command(f"DESCRIBE TABLE {name}('x')")

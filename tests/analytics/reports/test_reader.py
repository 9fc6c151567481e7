"""The read-only way to ClickHouse, on the real engine."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow.ipc
import pytest

from analytics.clickhouse import ClickHouse
from analytics.reports.query import ARROW, CSV, JSON, ResultFormat
from analytics.reports.reader import AnalystReader, QueryFault, ReaderLimits, ReaderQuery, Reason
from streams.errors import ClickHouseUnavailable, ConfigurationError
from streams.events import Payload
from tests.analytics.logs import make_log
from tests.analytics.reader_url import reader_url
from tests.analytics.stored_logs import store

LIMITS = ReaderLimits(timeout_s=30, result_rows=1_000, result_bytes=1 << 24, memory_bytes=1 << 29)
FORBIDDEN = (
    "INSERT INTO requests_raw (request_id) VALUES ('x')",
    "INSERT INTO requests_raw (request_id) SELECT 'x'",
    "ALTER TABLE requests_raw DELETE WHERE 1",
    "DELETE FROM requests_raw WHERE 1",
    "TRUNCATE TABLE requests_raw",
    "DROP TABLE requests_raw",
    "DROP VIEW requests",
    "CREATE TABLE mine (a Int8) ENGINE = MergeTree ORDER BY a",
    "CREATE VIEW mine AS SELECT 1",
    "RENAME TABLE requests_raw TO mine",
    "OPTIMIZE TABLE requests_raw FINAL",
    "SELECT 1; DROP TABLE requests_raw",
    "SELECT * FROM requests INTO OUTFILE '/tmp/headrace-out'",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT 1 SETTINGS readonly = 0",
    "SET readonly = 0",
    "SYSTEM STOP MERGES",
    "KILL QUERY WHERE 1",
)
HOSTILE = ("o'hara", "a\\", "a\\' OR 1 = 1 OR tenant = \\'", "'} OR 1 = 1", "tab\t\nline", "%")


def question(sql: str, *, tenant: str = "", output: ResultFormat = JSON, **parameters: Any) -> ReaderQuery:
    """A question in one of our formats."""
    return ReaderQuery(sql=sql, parameters=parameters, tenant=tenant, output=output)


def reader_of(url: str, database: str, **limits: Any) -> AnalystReader:
    return AnalystReader(url, database=database, limits=msgspec.structs.replace(LIMITS, **limits))


async def ask(reader: AnalystReader, asked: ReaderQuery) -> bytes:
    """The whole result."""
    async with reader.ask(asked) as answer:
        return b"".join([piece async for piece in answer.pieces()])


async def rows(reader: AnalystReader, sql: str, **fields: Any) -> list[Mapping[str, Any]]:
    """The rows of a result in JSON."""
    found: list[Mapping[str, Any]] = json.loads(await ask(reader, question(sql, **fields)))
    return found


async def reason(reader: AnalystReader, sql: str, **fields: Any) -> Reason:
    """Why a question has no answer."""
    with pytest.raises(QueryFault) as fault:
        await ask(reader, question(sql, **fields))
    return fault.value.reason


@pytest.fixture
async def reader(
    clickhouse: ClickHouse, clickhouse_url: str, schema_database: str
) -> AsyncIterator[AnalystReader]:
    """A reader of a database with the whole schema."""
    connected = reader_of(reader_url(clickhouse_url, schema_database), schema_database)
    yield connected
    await connected.close()


def test_a_url_that_is_none_is_refused() -> None:
    """At the start, with the variable's name, and without the password that may be in it."""
    with pytest.raises(ConfigurationError, match="HEADRACE_CLICKHOUSE_READER_URL") as refused:
        AnalystReader("reader:secret@host", database="headrace", limits=LIMITS)
    assert "secret" not in str(refused.value)


async def test_a_clickhouse_that_is_away_is_said_to_be() -> None:
    """Without the password."""
    reader = reader_of("http://reader:secret@127.0.0.1:1", "headrace")
    with pytest.raises(ClickHouseUnavailable) as fault:
        await ask(reader, question("SELECT 1"))
    assert "secret" not in str(fault.value)
    await reader.close()


@pytest.mark.integration
async def test_a_user_who_can_write_is_never_asked(
    clickhouse: ClickHouse, clickhouse_url: str, schema_database: str
) -> None:
    """By mistake the writing user's URL is given: not even a harmless question goes through it."""
    reader = reader_of(clickhouse_url, schema_database)
    assert await reason(reader, "SELECT count() FROM requests") is Reason.MISCONFIGURED
    assert await reason(reader, "DROP TABLE requests_raw") is Reason.MISCONFIGURED
    await reader.close()
    assert await clickhouse.query("SELECT count() AS n FROM requests") == [{"n": 0}]


@pytest.mark.integration
async def test_a_wrong_password_is_an_operators_matter(clickhouse_url: str, database: str) -> None:
    """Not an outage that passes."""
    url = re.sub(r":[^:@]+@", ":wrong@", reader_url(clickhouse_url, database))
    reader = reader_of(url, database)
    assert await reason(reader, "SELECT 1") is Reason.MISCONFIGURED
    await reader.close()


@pytest.mark.integration
async def test_whatever_is_asked_nothing_is_written(reader: AnalystReader, clickhouse: ClickHouse) -> None:
    """Even SQL that no caller can send: should a query of the catalogue ever be wrong, it changes nothing."""
    await store(clickhouse, [make_log("kept")])
    tables = "SELECT name, engine FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    before = await clickhouse.query(tables)
    for sql in FORBIDDEN:
        with pytest.raises(QueryFault):
            await ask(reader, question(sql))
        assert await clickhouse.query("SELECT request_id FROM requests_raw") == [{"request_id": "kept"}], sql
    assert await clickhouse.query(tables) == before


@pytest.mark.integration
async def test_a_query_that_forgets_the_tenant_shows_no_other(
    reader: AnalystReader, clickhouse: ClickHouse
) -> None:
    """ClickHouse filters by itself, in every view and table, under every alias and in every subquery."""
    payload = Payload(request_text="q", reply_text="a")
    tenants = ("acme", "globex")
    await store(clickhouse, [make_log(f"{name}-1", tenant=name, payload=payload) for name in tenants])
    for view in ("requests", "stages", "llm_calls", "payloads", "requests_raw", "stages_raw"):
        sql = f"SELECT DISTINCT tenant FROM {view} ORDER BY tenant"
        assert await rows(reader, sql, tenant="acme") == [{"tenant": "acme"}], view
        aliased = f"SELECT uniqExact(t.tenant) AS n FROM (SELECT * FROM {view} AS r) AS t"
        assert await rows(reader, aliased, tenant="globex") == [{"n": 1}], view
        joined = (
            f"SELECT count() AS n FROM {view} AS a JOIN {view} AS b USING request_id WHERE b.tenant = 'acme'"
        )
        assert await rows(reader, joined, tenant="globex") == [{"n": 0}], view
        assert await rows(reader, sql) == [{"tenant": "acme"}, {"tenant": "globex"}], view


@pytest.mark.integration
async def test_a_tenants_name_is_never_sql(reader: AnalystReader, clickhouse: ClickHouse) -> None:
    """Whatever is in it, as a filter and as a parameter."""
    await store(clickhouse, [make_log(f"r-{place}", tenant=name) for place, name in enumerate(HOSTILE)])
    for place, name in enumerate(HOSTILE):
        found = await rows_with_parameter(reader, name)
        assert found == [{"request_id": f"r-{place}"}], name
    assert await rows_with_parameter(reader, "nobody") == []


@pytest.mark.integration
async def test_decimals_times_and_denormals_in_json(reader: AnalystReader) -> None:
    """Every digit, as a number; times in RFC 3339; what JSON has no word for is null."""
    sql = (
        "SELECT toDecimal64('123456789.000000001', 9) AS usd, toUInt64('18446744073709551615') AS big, "
        "toDateTime64('2026-11-20 12:00:00.123456', 6, 'UTC') AS at, nan AS none, 0.1 AS tenth"
    )
    text = (await ask(reader, question(sql))).decode()
    assert '"usd":123456789.000000001' in text
    assert '"big":18446744073709551615' in text
    assert '"at":"2026-11-20T12:00:00.123456Z"' in text
    assert json.loads(text)[0]["none"] is None
    assert json.loads(text)[0]["tenth"] == 0.1


@pytest.mark.integration
async def test_csv_and_arrow(reader: AnalystReader) -> None:
    """CSV has names, and nothing for NULL; Arrow has exact decimals and times with their zone."""
    sql = (
        "SELECT toDecimal64('0.000000001', 9) AS usd, NULL AS none, 'a,\"b\"' AS text, "
        "toDateTime64('2026-11-20 12:00:00', 6, 'UTC') AS at"
    )
    text = (await ask(reader, question(sql, output=CSV))).decode()
    assert text == '"usd","none","text","at"\n0.000000001,,"a,""b""","2026-11-20T12:00:00.000000Z"\n'
    table = pyarrow.ipc.open_stream(await ask(reader, question(sql, output=ARROW))).read_all()
    assert str(table.column("usd")[0].as_py()) == "1E-9"
    assert str(table.column("at")[0].as_py()) == "2026-11-20 12:00:00+00:00"
    assert table.column("text")[0].as_py() == 'a,"b"'


@pytest.mark.integration
async def test_too_many_rows_bytes_or_memory_are_refused(clickhouse_url: str, database: str) -> None:
    """Before the first byte, and never by leaving rows out."""
    url = reader_url(clickhouse_url, database)
    reader = reader_of(url, database, result_rows=100, memory_bytes=1 << 25)
    assert len(await rows(reader, "SELECT number FROM numbers(100)")) == 100
    assert await reason(reader, "SELECT number FROM numbers(101)") is Reason.RESULT_TOO_LARGE
    hungry = "SELECT length(groupArray(number)) FROM numbers(20000000)"
    assert await reason(reader, hungry) is Reason.TOO_MUCH_MEMORY
    await reader.close()
    narrow = reader_of(url, database, result_bytes=2_000)
    long = "SELECT repeat('x', number) AS x FROM numbers(100)"
    assert await reason(narrow, long) is Reason.RESULT_TOO_LARGE
    await narrow.close()


@pytest.mark.integration
async def test_a_query_that_takes_too_long_is_ended(clickhouse_url: str, database: str) -> None:
    """By ClickHouse itself."""
    reader = reader_of(reader_url(clickhouse_url, database), database, timeout_s=1)
    slow = "SELECT count() FROM numbers(100000000) WHERE sleep(0.5) = 0"  # once for each block of rows
    assert await reason(reader, slow) is Reason.TOO_SLOW
    await reader.close()


@pytest.mark.integration
async def test_who_leaves_cancels_the_query(reader: AnalystReader, clickhouse: ClickHouse) -> None:
    """It does not go on for nobody."""
    mark = uuid4().hex
    slow = f"SELECT '{mark}', count() FROM numbers(100000000) WHERE sleep(0.5) = 0"
    asking = asyncio.create_task(ask(reader, question(slow)))
    await _running(clickhouse, mark, 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _running(clickhouse, mark, 0)


@pytest.mark.integration
async def test_before_the_schema_is_there(clickhouse_url: str, database: str) -> None:
    """It is a matter of a moment, with a tenant and without."""
    reader = reader_of(reader_url(clickhouse_url, database), database)
    assert await reason(reader, "SELECT count() FROM requests") is Reason.NOT_READY
    assert await reason(reader, "SELECT count() FROM requests", tenant="acme") is Reason.NOT_READY
    await reader.close()


@pytest.mark.integration
async def test_a_mistake_in_the_sql_is_ours(reader: AnalystReader) -> None:
    """And a value of another type is the caller's."""
    assert await reason(reader, "SELECT no_such_column FROM requests") is Reason.BROKEN
    assert await reason(reader, "SELECT {n:UInt8}", n="many") is Reason.WRONG_PARAMETER


async def rows_with_parameter(reader: AnalystReader, tenant: str) -> list[Mapping[str, Any]]:
    """The requests of a tenant that is both the filter and a value."""
    sql = "SELECT request_id FROM requests WHERE tenant = {tenant:String}"
    asked = ReaderQuery(sql=sql, parameters={"tenant": tenant}, tenant=tenant, output=JSON)
    found: list[Mapping[str, Any]] = json.loads(await ask(reader, asked))
    return found


async def _running(clickhouse: ClickHouse, mark: str, count: int) -> None:
    """Wait until so many queries with this mark run."""
    sql = (
        "SELECT count() AS n FROM system.processes "
        "WHERE position(query, {mark:String}) > 0 AND position(query, 'system.processes') = 0"
    )
    async with asyncio.timeout(30):
        while (await clickhouse.query(sql, {"mark": mark}))[0]["n"] != count:
            await asyncio.sleep(0.05)

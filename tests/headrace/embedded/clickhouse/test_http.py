"""The interface as curl and BI tools use it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import httpx
import lz4.frame
import pytest

from headrace.embedded.clickhouse import EmbeddedClickHouse
from tests.headrace.embedded.clickhouse.conftest import READER_PASSWORD

pytestmark = pytest.mark.integration


def ask(http: httpx.Client, sql: str | bytes, **params: str) -> httpx.Response:
    """POST a statement."""
    return http.post("/", content=sql, params=params)


@pytest.mark.parametrize("path", ["/", "/ping"])
def test_health_checks(http: httpx.Client, path: str) -> None:
    """Without a query the server says Ok."""
    response = http.get(path)
    assert (response.status_code, response.text) == (200, "Ok.\n")


def test_an_unknown_path_is_404(http: httpx.Client) -> None:
    """There is nothing but queries and health checks."""
    assert http.get("/nothing").status_code == 404


def test_a_query_by_get_with_its_headers(http: httpx.Client) -> None:
    """The query may be in the URL; the headers say id, format, time zone and figures."""
    response = http.get("/", params={"query": "SELECT 1 AS x FORMAT JSON", "query_id": "my-id"})
    assert response.json()["data"] == [{"x": 1}]
    headers = response.headers
    assert headers["content-type"] == "application/json; charset=UTF-8"
    assert headers["x-clickhouse-format"] == "JSON"
    assert headers["x-clickhouse-query-id"] == "my-id"
    assert headers["x-clickhouse-timezone"]
    summary = json.loads(headers["x-clickhouse-summary"])
    assert summary["read_rows"] == summary["result_rows"] == "1"


def test_the_query_in_the_url_and_its_data_in_the_body(http: httpx.Client, table: str) -> None:
    """URL and body are one text, as when a file is piped into curl."""
    ask(http, f"CREATE TABLE {table} (a UInt8, s String) ENGINE = MergeTree ORDER BY a")
    response = ask(http, b"1,one\n2,two\n", query=f"INSERT INTO {table} FORMAT CSV")
    assert response.status_code == 200
    assert json.loads(response.headers["x-clickhouse-summary"])["written_rows"] == "2"
    ask(http, b"(3, 'three'), (4, 'four')", query=f"INSERT INTO {table} VALUES")
    ask(http, f'INSERT INTO {table} FORMAT JSONEachRow\n{{"a": 5, "s": "five"}}')
    assert ask(http, f"SELECT groupArray(s) FROM (SELECT * FROM {table} ORDER BY a)").text == (
        "['one','two','three','four','five']\n"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {table} SELECT x * 2 FROM input('x UInt64') FORMAT TSV",
        "INSERT INTO {table} SELECT * FROM `input`('x UInt64')",
    ],
)
def test_an_insert_from_input_is_refused(http: httpx.Client, table: str, sql: str) -> None:
    """The library takes input() for empty: the data would be lost without a word."""
    ask(http, f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    refused = ask(http, b"1\n2\n", query=sql.format(table=table))
    assert refused.headers["x-clickhouse-exception-code"] == "497"
    assert "input()" in refused.text


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("JSONCompactEachRowWithNamesAndTypes", b'["x"]\n["UInt8"]\n[1]\n'),
        ("RowBinaryWithNamesAndTypes", b"\x01\x01x\x05UInt8\x01"),
        ("Native", b"\x01\x01\x01x\x05UInt8\x01"),
        ("CSVWithNames", b'"x"\n1\n'),
        ("TabSeparatedWithNamesAndTypes", b"x\nUInt8\n1\n"),
    ],
)
def test_formats_chosen_in_each_way(http: httpx.Client, name: str, body: bytes) -> None:
    """A format comes from the SQL or from default_format."""
    assert ask(http, f"SELECT 1 AS x FORMAT {name}").content == body
    assert ask(http, "SELECT 1 AS x -- FORMAT JSON", default_format=name).content == body
    assert ask(http, "SELECT 1 AS x;", default_format=name).content == body
    with_settings = ask(http, f"SELECT 'FORMAT JSON' != '' AS x FORMAT {name} SETTINGS max_threads = 1")
    assert with_settings.content == body


def test_what_bi_tools_ask_first(http: httpx.Client, table: str) -> None:
    """Version, databases, tables, columns, SHOW, DESCRIBE and EXPLAIN answer in any format."""
    ask(http, f"CREATE TABLE {table} (a UInt8 COMMENT 'c') ENGINE = MergeTree ORDER BY a")
    assert ask(http, "SELECT version() FORMAT TSV").text.startswith("2")
    sql = f"SELECT name, type, comment FROM system.columns WHERE table = '{table}'"
    assert ask(http, sql, default_format="JSONCompact").json()["data"] == [["a", "UInt8", "c"]]
    tables = ask(http, "SHOW TABLES FROM default", default_format="JSON").json()["data"]
    assert {"name": table} in tables
    assert ask(http, f"DESCRIBE TABLE {table} FORMAT JSONEachRow").json()["name"] == "a"
    assert ask(http, f"EXISTS TABLE {table}").text == "1\n"
    ask(http, f"INSERT INTO {table} VALUES (1)")
    assert "ReadFromMergeTree" in ask(http, f"EXPLAIN SELECT * FROM {table}").text
    assert ask(http, f"SHOW CREATE TABLE {table} FORMAT TSVRaw").text.startswith("CREATE TABLE")


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM nowhere", 404, "60", "UNKNOWN_TABLE"),
        ("SELEC 1", 400, "62", "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, "62", "SYNTAX_ERROR"),
        ("", 400, "62", "SYNTAX_ERROR"),
        ("SELECT 1 FORMAT Nope", 404, "73", "UNKNOWN_FORMAT"),
        ("SELECT x FROM system.one", 404, "47", "UNKNOWN_IDENTIFIER"),
        ("SELECT {a:UInt8}", 404, "456", "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_execution_time = 1", 408, "159", "TIMEOUT"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 500, "358", "INTO_OUTFILE_NOT_ALLOWED"),
        ("INSERT INTO system.one FROM INFILE '/etc/passwd'", 500, "358", "NOT_ALLOWED"),
        ("INSERT INTO nowhere FORMAT CSV\n1", 404, "60", "UNKNOWN_TABLE"),
    ],
)
def test_errors_have_the_servers_status_and_code(
    http: httpx.Client, sql: str, status: int, code: str, name: str
) -> None:
    """Status, X-ClickHouse-Exception-Code and text are those of a server."""
    response = ask(http, sql)
    assert response.status_code == status
    assert response.headers["x-clickhouse-exception-code"] == code
    assert response.text.startswith(f"Code: {code}. DB::")
    assert name in response.text


def test_get_only_reads(http: httpx.Client, table: str) -> None:
    """A GET changes nothing. It may set its own settings."""
    for sql in (f"CREATE TABLE {table} (a UInt8) ENGINE = Memory", "DROP DATABASE default"):
        for extra in ({}, {"readonly": "0"}):
            response = http.get("/", params={"query": sql, **extra})
            assert response.headers["x-clickhouse-exception-code"] == "164"
    assert ask(http, f"EXISTS TABLE {table}").text == "0\n"
    assert http.get("/", params={"query": "SELECT 1", "max_threads": "1"}).text == "1\n"


def test_url_parameters_are_settings_of_this_query(http: httpx.Client) -> None:
    """A setting holds for its request; an unknown one is an error, and neither leaks."""
    read = "SELECT getSetting('max_block_size')"
    assert ask(http, read, max_block_size="7").text == "7\n"
    assert ask(http, read).text != "7\n"
    for ours in ("quota_key", "buffer_size", "client_protocol_version", "compress", "session_check"):
        assert ask(http, "SELECT 1", **{ours: "0"}).text == "1\n"
    assert ask(http, "SELECT 1", no_such_setting="1").headers["x-clickhouse-exception-code"] == "115"
    hostile = ask(http, "SELECT 1", **{"max_threads = 1, max_block_size": "1"})
    assert hostile.headers["x-clickhouse-exception-code"] == "115"
    quoted = ask(http, "SELECT 12345678901234567890 AS x", output_format_json_quote_64bit_integers="1",
                 default_format="JSONEachRow")  # fmt: skip
    assert quoted.text == '{"x":"12345678901234567890"}\n'


def test_parameters_and_database_in_the_url(http: httpx.Client) -> None:
    """param_x binds ``{x:Type}``; database is where names are looked up."""
    response = ask(http, "SELECT {s:String}, {n:UInt8}", param_s="it's", param_n="3")
    assert response.text == "it\\'s\t3\n"
    assert ask(http, "SELECT count() > 0 FROM tables", database="system").text == "1\n"
    assert ask(http, "SELECT 1", database="no`such").headers["x-clickhouse-exception-code"] == "81"


def test_there_are_no_sessions(http: httpx.Client) -> None:
    """A `session_id` is ignored, as clients send one unasked; what asks for a session is refused."""
    assert ask(http, "SELECT 1", session_id="mine", session_timeout="60").text == "1\n"
    for name in ("session_check", "close_session"):
        assert ask(http, "SELECT 1", session_id="mine", **{name: "1"}).status_code == 501
    refused = ask(http, "/* */ SET max_threads = 1", session_id="mine")
    assert (refused.status_code, refused.headers["x-clickhouse-exception-code"]) == (501, "48")


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("lz4", lz4.frame.compress)],
)
def test_content_encodings(http: httpx.Client, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Bodies of requests may be compressed, also as several frames in a row. Responses are not."""
    body = compress(b"SELECT ") + compress(b"number FROM numbers(500000)")
    headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    response = http.post("/", content=body, headers=headers)
    assert "content-encoding" not in response.headers
    assert response.text == "".join(f"{number}\n" for number in range(500_000))


def test_a_broken_or_unknown_encoding_is_refused(http: httpx.Client) -> None:
    """A body that does not decompress is an error, and so is a compression we do not know."""
    for body, encoding, status in ((b"nonsense", "gzip", 400), (gzip.compress(b"SELECT 1")[:-4], "gzip", 400),
                                   (b"x", "br", 501)):  # fmt: skip
        response = http.post("/", content=body, headers={"Content-Encoding": encoding})
        assert response.status_code == status
    assert ask(http, "SELECT 1", compress="1").status_code == 501


def test_the_reader_reads_tables_and_nothing_else(http: httpx.Client, table: str) -> None:
    """The reader cannot write, reach files or the network, or lift its limits."""
    ask(http, f"CREATE TABLE {table} (a UInt8) ENGINE = MergeTree ORDER BY a")
    ask(http, f"INSERT INTO {table} VALUES (1)")
    reader = httpx.Client(base_url=http.base_url, auth=("reader", READER_PASSWORD))
    with reader:
        assert ask(reader, f"SELECT sum(a) FROM {table}", max_threads="1", session_id="s").text == "1\n"
        for sql in (
            f"INSERT INTO {table} VALUES (2)",
            f"DROP TABLE {table}",
            "SELECT file('/etc/hostname')",
            "SELECT * FROM `file`('/etc/hostname', 'LineAsString')",
            "SELECT * FROM loop(file /* */ ('/etc/hostname', 'LineAsString')) LIMIT 1",
            "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
            "SELECT 1 SETTINGS max_execution_time = 0",
            "SET readonly = 0",
        ):
            response = ask(reader, sql)
            assert response.headers["x-clickhouse-exception-code"] in ("48", "164", "497"), sql
        assert ask(reader, "SELECT 1", max_execution_time="0").headers["x-clickhouse-exception-code"] == "452"
        assert ask(reader, "SELECT 1", readonly="0").status_code == 200
        assert ask(reader, f"INSERT INTO {table} VALUES (2)", readonly="0").status_code == 500
    assert ask(http, f"SELECT count() FROM {table}").text == "1\n"


def test_wrong_credentials(server: EmbeddedClickHouse) -> None:
    """A wrong password is 403 with code 516, in whichever way it is sent."""
    ways = (
        {"headers": {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "no"}},
        {"auth": ("nobody", "")},
        {"headers": {"Authorization": "Basic %%%"}},
    )
    for way in ways:
        response = httpx.post(f"http://127.0.0.1:{server.port}", content="SELECT 1", timeout=60, **way)
        assert response.status_code == 403
        assert response.headers["x-clickhouse-exception-code"] == "516"
    in_url = httpx.post(f"http://127.0.0.1:{server.port}/?user=reader&password={READER_PASSWORD}", timeout=60)
    assert in_url.status_code == 401


@pytest.mark.parametrize("rows", [3, 20_000], ids=["inline", "fed"])
def test_a_repeated_token_is_deduplicated(http: httpx.Client, table: str, rows: int) -> None:
    """insert_deduplication_token in the URL holds for the insert, whichever way its data goes."""
    ask(
        http,
        f"CREATE TABLE {table} (a UInt64, s String) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100",
    )
    data = "".join(f"{number}\tsome text\n" for number in range(rows)).encode()
    for token in ("t-1", "t-1", "t-2"):
        sql = f"INSERT INTO {table} FORMAT TSV"
        assert ask(http, data, query=sql, insert_deduplication_token=token).status_code == 200
    assert ask(http, f"SELECT count() FROM {table}").text == f"{2 * rows}\n"


def test_a_failed_insert_inserts_nothing(http: httpx.Client, table: str) -> None:
    """One bad row among 50,000 refuses them all."""
    ask(http, f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    data = b"".join(b"%d\n" % number for number in range(50_000)) + b"not a number\n"
    assert ask(http, data, query=f"INSERT INTO {table} FORMAT TSV").status_code == 400
    assert ask(http, f"SELECT count() FROM {table}").text == "0\n"


def test_the_engines_tables_do_their_work(http: httpx.Client, table: str) -> None:
    """ReplacingMergeTree, FINAL, a materialized view, REPLACE PARTITION."""
    for sql in (
        f"CREATE TABLE {table} (k UInt8, v UInt8) ENGINE = ReplacingMergeTree(v) PARTITION BY k ORDER BY k",
        f"CREATE TABLE {table}_sum (k UInt8, n UInt64) ENGINE = SummingMergeTree ORDER BY k",
        f"CREATE MATERIALIZED VIEW {table}_mv TO {table}_sum AS SELECT k, 1 AS n FROM {table}",
        f"CREATE TABLE {table}_new AS {table}",
        f"INSERT INTO {table} VALUES (1, 1), (2, 1)",
        f"INSERT INTO {table} VALUES (1, 5)",
        f"INSERT INTO {table}_new VALUES (2, 9)",
        f"ALTER TABLE {table} REPLACE PARTITION 2 FROM {table}_new",
    ):
        response = ask(http, sql)
        assert response.status_code == 200, response.text
    assert ask(http, f"SELECT k, v FROM {table} FINAL ORDER BY k").text == "1\t5\n2\t9\n"
    assert ask(http, f"SELECT sum(n) FROM {table}_sum").text == "3\n"


def test_a_form_is_a_query(http: httpx.Client) -> None:
    """Clients send long parameters as fields of a form; files in it would be external tables."""
    fields = {"query": (None, "SELECT length({s:String})"), "param_s": (None, "x" * 100_000)}
    assert http.post("/", files=fields).text == "100000\n"
    refused = http.post(
        "/", files={**fields, "people": b"1,Ann"}, params={"people_structure": "id Int32, n String"}
    )
    assert refused.status_code == 501
    assert "External tables" in refused.text

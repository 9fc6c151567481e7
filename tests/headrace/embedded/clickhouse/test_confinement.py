"""No statement reaches the host's files, programs or network, not even the owner's."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from headrace.embedded.clickhouse import EmbeddedClickHouse, confinement
from headrace.embedded.clickhouse.confinement import DATABASE_ENGINES, TABLE_ENGINES, TABLE_FUNCTIONS
from tests.headrace.embedded.clickhouse.conftest import READER_PASSWORD

pytestmark = pytest.mark.integration

SECRET = "canary-7f3a9c"
ACCESS_DENIED = "497"

needs_landlock = pytest.mark.skipif(not confinement.landlock_version(), reason="this kernel has no Landlock")


@dataclass(frozen=True)
class Host:
    """What an attacker would like to reach: a file, a folder to write to, a server."""

    file: Path
    listener: socket.socket

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"

    @property
    def was_called(self) -> bool:
        """Whether anybody connected."""
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    @property
    def is_untouched(self) -> bool:
        """Whether the file is as it was, with nothing beside it."""
        return [*self.file.parent.iterdir()] == [self.file] and self.file.read_text() == f"{SECRET}\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A file and a server that no statement should reach."""
    file = tmp_path_factory.mktemp("host") / "secret.txt"
    file.write_text(f"{SECRET}\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield Host(file, listener)


def column(http: httpx.Client, sql: str) -> list[str]:
    """The values of a result's only column."""
    return http.post("/", content=sql).raise_for_status().text.splitlines()


def code_of(http: httpx.Client, sql: str, **params: str) -> str | None:
    """The code of the error; None where there is none."""
    return http.post("/", content=sql, params=params).headers.get("x-clickhouse-exception-code")


def test_every_table_function_that_is_not_named_is_refused(http: httpx.Client) -> None:
    """The engine's own list is walked: what a later version adds is refused until somebody looked at it."""
    names = column(http, "SELECT name FROM system.table_functions")
    refused = [name for name in names if name.lower().encode() not in TABLE_FUNCTIONS]
    assert len(refused) > 50
    for name in refused:
        for sql in (
            f"SELECT * FROM {name}('x')",
            f"SELECT * FROM loop(`{name}` /* */\n('x'))",
            f"DESCRIBE TABLE {name}('x')",
            f"INSERT INTO FUNCTION {name}('x') SELECT 1",
            f"INSERT INTO FUNCTION {name}('x') FORMAT TSV\n1",
            f"CREATE TABLE t AS {name}('x')",
            f"CREATE VIEW v AS SELECT * FROM {name}('x')",
        ):
            assert code_of(http, sql) == ACCESS_DENIED, sql


def test_every_table_engine_that_is_not_named_is_refused(http: httpx.Client, table: str) -> None:
    """Tables and databases alike, by the engine's own lists."""
    engines = column(http, "SELECT name FROM system.table_engines")
    refused = set(engines) - TABLE_ENGINES
    assert {"File", "URL", "S3", "Kafka", "Executable", "EmbeddedRocksDB", "Distributed"} <= refused
    for name in refused:
        for engine in (f"ENGINE = {name}('x')", f"engine `{name}`", f"ENGINE /**/ = /**/ {name.upper()}"):
            sql = f"CREATE TABLE {table} (x UInt8) {engine} ORDER BY x"
            assert code_of(http, sql) == ACCESS_DENIED, sql
    for name in set(column(http, "SELECT name FROM system.database_engines")) - DATABASE_ENGINES:
        assert code_of(http, f"CREATE DATABASE {table} ENGINE = {name}('x')") == ACCESS_DENIED, name


@needs_landlock
@pytest.mark.timeout(600)  # 3,000 statements, on a machine that may be busy
def test_no_scalar_function_reads_a_file_or_connects(
    server: EmbeddedClickHouse, http: httpx.Client, host: Host
) -> None:
    """Every function of the engine is called with a path and a URL, but for `file`, whose name is refused."""
    names = column(http, "SELECT name FROM system.functions WHERE origin = 'System' AND name != 'file'")
    assert len(names) > 1_500

    token = b64encode(f"default:{server._password}".encode()).decode()
    # Three thousand requests: httpx would take longer than the engine.
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:

        def answer(sql: str) -> str:
            connection.request("POST", "/", sql.encode(), {"Authorization": f"Basic {token}"})
            return connection.getresponse().read().decode(errors="replace")

        assert answer(f"SELECT upper('{SECRET}')") == f"{SECRET.upper()}\n"
        calls = [f"'{host.file}'", f"'{host.url}', '{host.file}'"]
        told = {name for name in names if any(SECRET in answer(f"SELECT `{name}`({each})") for each in calls)}
    assert told == set()
    assert not host.was_called


ATTACKS = (
    "SELECT file('{file}')",
    "SELECT FILE /* */ ('{file}')",
    "SELECT FILE // (\n('{file}')",
    "SELECT file\u00a0\ufeff('{file}')",
    "/* /* */ ' */ SELECT * FROM executable('id', TSV, 'x String') --'",
    "// '\nSELECT * FROM executable('id', TSV, 'x String') --'",
    "SELECT \"f\\x69le\"('{file}')",
    "SELECT \u201cfile\u201d('{file}')",
    "SELECT * FROM \u201cexecutable\u201d('id', TSV, 'x String')",
    "SELECT * FROM \"\\x65xecutable\"('id', TSV, 'x String')",
    "CREATE TABLE {table} (x UInt8) ENGINE\u201cEmbeddedRocksDB\u201d(0, '{file}.d') PRIMARY KEY x",
    "CREATE TABLE {table} (x UInt8) ENGINE = \"Embedded\\x52ocksDB\"(0, '{file}.d') PRIMARY KEY x",
    "CREATE TABLE {table} (x UInt8) ENGINE = Executable('id', TSV)",
    "SELECT * FROM `{file}`",
    "SELECT * FROM default.`{file}`",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{file}'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'",
    "SELECT 1 FORMAT CapnProto SETTINGS format_schema = '{file}:X'",
    "SELECT * FROM {{f:Identifier}}('{file}', 'LineAsString')",
    "SELECT 1 INTO/**/OUTFILE '{file}' TRUNCATE",
    "INSERT INTO default.{table} FROM INFILE '{file}' FORMAT TSV",
    (
        "CREATE TABLE {table} (x String) ENGINE = MergeTree ORDER BY x "
        "SETTINGS disk = disk(type = web, endpoint = '{url}/')"
    ),
    "CREATE TABLE {table} (x String) ENGINE = MergeTree ORDER BY x SETTINGS storage_policy = 'other'",
    "ATTACH TABLE {table} FROM '{file}' (x String) ENGINE = MergeTree ORDER BY x",
    (
        "CREATE DICTIONARY {table} (k UInt64) PRIMARY KEY k SOURCE(FILE(path '{file}' format 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(0)"
    ),
    (
        "CREATE DICTIONARY {table} (k UInt64) PRIMARY KEY k SOURCE(HTTP(url '{url}' format 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(0)"
    ),
    (
        "CREATE DICTIONARY {table} (k UInt64) PRIMARY KEY k SOURCE(EXECUTABLE(command 'id' format 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(0)"
    ),
    "CREATE NAMED COLLECTION {table} AS url = '{url}'",
    "BACKUP DATABASE default TO File('{file}.backup')",
    "RESTORE DATABASE default FROM File('{file}')",
    "CREATE USER {table}",
    "GRANT READ ON FILE TO default",
    "SYSTEM SHUTDOWN",
    "SET dialect = 'prql'",
    "SET allow_python_table_function = 1",
    "SET format_avro_schema_registry_url = '{url}'",
    "SET input_format_record_errors_file_path = '{file}'",
    "SELECT 1; SELECT 2",
)
# Only the engine reads the expressions in these strings, and its access control has no right for file().
IN_STRINGS = (
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT arrayMap(file, ['{file}'])",
    "SELECT 1 AS x SETTINGS additional_result_filter = 'length(file(''{file}'')) > 0'",
    (
        "SELECT * FROM format(JSONEachRow, concat('x String, y String DEFAULT fi', 'le(''{file}'')'), "
        '\'{{"x":"1"}}\')'
    ),
)


@pytest.mark.parametrize("user", ["default", "reader"])
@pytest.mark.parametrize(
    "attack", [*ATTACKS, *(pytest.param(each, marks=needs_landlock) for each in IN_STRINGS)]
)
def test_an_attack_is_refused(
    server: EmbeddedClickHouse, host: Host, table: str, attack: str, user: str
) -> None:
    """Known ways out, each for the owner and for the reader: an error; file and server untouched."""
    password = READER_PASSWORD if user == "reader" else server._password
    sql = attack.format(file=host.file, url=host.url, table=table)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", auth=(user, password), timeout=60) as http:
        response = http.post("/", content=sql, params={"param_f": "file"})
    assert response.status_code >= 400, response.text
    assert SECRET not in response.text
    assert host.is_untouched
    assert not host.was_called


@needs_landlock
def test_the_process_sees_no_secret(server: EmbeddedClickHouse) -> None:
    """Its environment holds none, and its passwords and other processes' environments are out of reach."""
    with httpx.Client(base_url=server.endpoint, timeout=60) as http:
        own = http.post("/", content="SELECT arrayMap(file, ['/proc/self/environ'])").text
        assert server._password not in own
        assert "HEADRACE" not in own
        for path in ("/proc/1/environ", server.data_dir / "passwords.json", server.data_dir / "password"):
            response = http.post("/", content=f"SELECT arrayMap(file, ['{path}'])")
            assert "Permission denied" in response.text, path


def test_tables_of_the_database_default_survive_a_restart(folder: Path) -> None:
    """The library lays that database over the file system; ours holds tables, and keeps them."""
    part = EmbeddedClickHouse(folder)
    for number in range(1, 4):
        part.start()
        try:
            with httpx.Client(base_url=part.endpoint, timeout=60) as http:
                create = "CREATE TABLE IF NOT EXISTS kept (x UInt8) ENGINE = MergeTree ORDER BY x"
                for sql in (create, f"INSERT INTO kept VALUES ({number})"):
                    assert http.post("/", content=sql).status_code == 200
                assert column(http, "SELECT count() FROM default.kept") == [str(number)]
        finally:
            part.stop()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example"}, 421),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_use_it(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    """Neither by a request from the page nor by a name that resolves to this machine, password or not."""
    assert http.post("/", content="SELECT 1", headers=headers).status_code == status
    assert http.get(f"/?query={quote('SELECT 1')}", headers=headers).status_code == status

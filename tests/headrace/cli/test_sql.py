"""`headrace sql`: whatever is typed, nothing is written."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import build_app
from headrace.cli.queries import TABLE_ROWS
from headrace.embedded.clickhouse import EmbeddedClickHouse
from tests.headrace.cli.stored_requests import stored_requests

pytestmark = pytest.mark.integration

Environ = dict[str, str]


def run(*arguments: str, environ: Environ | None = None, stdin: str | None = None) -> Result:
    """Type a command."""
    unset = dict.fromkeys(("HEADRACE_CLICKHOUSE_URL", "HEADRACE_CLICKHOUSE_READER_URL"), "")
    env = unset | (environ or {})
    return CliRunner().invoke(build_app(["sql"]), ["sql", *arguments], env=env, input=stdin)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` of the developer's takes part."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def owner(clickhouse_url: str) -> Iterator[Environ]:
    """An environment that names ClickHouse with a user who may do everything."""
    with stored_requests(clickhouse_url) as database:
        yield {"HEADRACE_CLICKHOUSE_URL": clickhouse_url, "HEADRACE_CLICKHOUSE_DATABASE": database}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environ]:
    """One that also names a user who may only read."""
    part = EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse"), reader_password="open")
    part.start()
    try:
        with stored_requests(part.endpoint) as database:
            yield {
                "HEADRACE_CLICKHOUSE_URL": part.endpoint,
                "HEADRACE_CLICKHOUSE_READER_URL": f"http://reader:open@127.0.0.1:{part.port}",
                "HEADRACE_CLICKHOUSE_DATABASE": database,
            }
    finally:
        part.stop()


@pytest.fixture(params=["owner", "reader"])
def environ(request: pytest.FixtureRequest) -> Environ:
    """Each of the two."""
    found: Environ = request.getfixturevalue(request.param)
    return found


def test_one_statement(environ: Environ) -> None:
    """The views are there under their plain names, without duplicates."""
    result = run("SELECT count() AS n, sum(cost_usd) AS usd FROM requests;", environ=environ)
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [["n", "usd"], ["3", "0.300000001"]]


def test_a_statement_from_stdin_with_a_parameter(environ: Environ) -> None:
    """A value is a value, never SQL."""
    sql = "SELECT count() AS n FROM requests WHERE user_id = {user:String}"
    for user, count in (("ada", 1), ("' OR 1 = 1 --", 0)):
        result = run("--param", f"user={user}", "-f", "json", environ=environ, stdin=sql)
        assert json.loads(result.stdout) == [{"n": count}], result.output


@pytest.mark.parametrize("statement", ["SHOW TABLES LIKE 'req%'", "DESCRIBE requests", "EXPLAIN SELECT 1"])
def test_statements_that_look_around(environ: Environ, statement: str) -> None:
    """What an analyst types first."""
    result = run(statement, environ=environ)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) > 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO requests_raw (request_id, tenant) VALUES ('x', 'x')",
        "INSERT INTO requests_raw SELECT * FROM requests_raw",
        "TRUNCATE TABLE requests_raw",
        "DROP TABLE requests_raw",
        "DROP DATABASE {database}",
        "ALTER TABLE requests_raw DELETE WHERE 1",
        "DELETE FROM requests_raw WHERE 1",
        "CREATE TABLE stolen (a UInt8) ENGINE = Memory",
        "CREATE VIEW seen AS SELECT 1",
        "RENAME TABLE requests_raw TO gone",
        "OPTIMIZE TABLE requests_raw FINAL",
        "SYSTEM STOP MERGES",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1; DROP TABLE requests_raw",
        "SELECT * FROM requests INTO OUTFILE '/tmp/stolen.csv'",
    ],
)
def test_nothing_can_be_written(environ: Environ, statement: str) -> None:
    """Whoever the user is: exit code 1, and everything is there afterwards."""
    sql = statement.replace("{database}", environ["HEADRACE_CLICKHOUSE_DATABASE"])
    refused = run(sql, environ=environ)
    assert (refused.exit_code, "error:" in refused.stderr) == (1, True), refused.output
    after = run(
        "SELECT (SELECT count() FROM requests) AS n, (SELECT count() FROM system.tables WHERE name IN "
        "('stolen', 'seen', 'gone')) AS made, (SELECT count() FROM requests_raw) AS raw",
        "-f",
        "json",
        environ=environ,
    )
    assert json.loads(after.stdout) == [{"n": 3, "made": 0, "raw": 6}], after.output


def test_a_statement_that_is_wrong(environ: Environ) -> None:
    """ClickHouse says why, on one line."""
    result = run("SELECT nothing FROM requests", environ=environ)
    assert result.exit_code == 1
    assert "nothing" in result.stderr


def test_a_table_ends_somewhere(owner: Environ) -> None:
    """A file has all rows."""
    sql = f"SELECT number FROM numbers({TABLE_ROWS + 5})"
    shown = run(sql, environ=owner)
    assert len(shown.stdout.splitlines()) == TABLE_ROWS + 1
    assert f"the first {TABLE_ROWS} rows" in shown.stderr
    assert len(run(sql, "-f", "csv", environ=owner).stdout.splitlines()) == TABLE_ROWS + 6


def test_without_a_statement(owner: Environ) -> None:
    """Exit code 2."""
    result = run(environ=owner, stdin=" ;\n")
    assert result.exit_code == 2
    assert "there is no statement" in result.output

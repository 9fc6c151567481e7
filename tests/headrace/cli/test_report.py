"""`headrace report` as an analyst types it."""

import csv
import io
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from analytics.reports.catalogue import Catalogue
from headrace.cli.app import build_app
from headrace.embedded.process import free_port
from headrace.up.home import Endpoints, Home, UpStatus, start_after_boot_s
from tests.headrace.cli.stored_requests import stored_requests

integration = pytest.mark.integration

Environ = dict[str, str]
JANUARY = ("--since", "2026-01-01", "--until", "2026-02-01")


def run(*arguments: str, environ: Environ | None = None) -> Result:
    """Type a command; no variable of the developer's takes part."""
    unset = dict.fromkeys(("HEADRACE_CLICKHOUSE_URL", "HEADRACE_CLICKHOUSE_READER_URL"), "")
    return CliRunner().invoke(build_app(["report"]), ["report", *arguments], env=unset | (environ or {}))


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` takes part either."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def stored(clickhouse_url: str) -> Iterator[Environ]:
    """An environment that names a ClickHouse with three requests."""
    with stored_requests(clickhouse_url) as database:
        yield {"HEADRACE_CLICKHOUSE_URL": clickhouse_url, "HEADRACE_CLICKHOUSE_DATABASE": database}


def test_the_list_names_every_question() -> None:
    """With its title; nothing has to run for that."""
    result = run("list")
    assert result.exit_code == 0
    for query in Catalogue.load():
        assert f"{query.name} " in result.output
        assert query.title in result.output


def test_the_list_as_json_has_the_whole_documentation() -> None:
    """For programs that offer the questions."""
    listed = {each["name"]: each for each in json.loads(run("list", "--format", "json").stdout)}
    assert list(listed) == Catalogue.load().names()
    assert listed["cost_by_user"]["parameters"][-1]["default"] == "20"
    assert listed["cost_by_user"]["columns"][-1]["unit"] == "USD"


def test_explaining_a_question() -> None:
    """What it counts, takes and returns, and its SQL; nothing is asked."""
    result = run("request", "--explain")
    assert result.exit_code == 0
    for text in ("request_id  the request (required)", "cost_usd [USD]", "FROM requests", "{tenant:String}"):
        assert text in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("cost_by_modle",), "did you mean cost_by_model"),
        (("xyzzy",), "`headrace report list` names all of them"),
        (("cost_by_model", "--since", "yesterday"), "since: 'yesterday' is not a time"),
        (("cost_by_model", "--since", "1h", "--until", "2h"), "must be earlier than until"),
        (("cost_by_model", "--limit", "0"), "limit must be 1 to 100000"),
        (("cost_totals", "--limit", "3"), "no parameter 'limit'"),
        (("cost_totals", "--param", "tenant"), "'tenant' must be name=value"),
        (("cost_totals", "--tenant", "a", "-p", "tenant=b"), "tenant is given twice"),
        (("request",), "needs request_id"),
        (("list", "--format", "csv"), "--format table or json"),
        (("cost_totals",), "HEADRACE_CLICKHOUSE_READER_URL"),
    ],
)
def test_a_wrong_question_says_what_to_change(arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2, before anything is asked."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())


def test_a_clickhouse_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Exit code 1, without its password."""
    port = free_port()
    environ = {"HEADRACE_CLICKHOUSE_URL": f"http://headrace:secret@127.0.0.1:{port}"}
    result = run("cost_totals", "--output", str(tmp_path / "out.csv"), "--format", "csv", environ=environ)
    assert result.exit_code == 1
    assert f"ClickHouse at 127.0.0.1:{port}" in result.output
    assert "secret" not in result.output
    assert list(tmp_path.iterdir()) == []


@integration
def test_a_table_for_people(stored: Environ) -> None:
    """Each request once, money to the last digit, and no line cut at the edge of the terminal."""
    result = run("cost_by_model", *JANUARY, "--tenant", "acme", environ=stored)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [
        ["model", "requests", "successful", "input_tokens", "output_tokens", "cost_usd"],
        ["gpt-4o-mini", "1", "1", "20", "0", "0.2"],
        ["gpt-4o", "1", "1", "10", "0", "0.100000001"],
    ]


@integration
def test_what_strangers_wrote_cannot_steer_the_terminal(stored: Environ) -> None:
    """Control characters are shown, not obeyed; wide tables keep every column."""
    result = run("latest_requests", *JANUARY, environ=stored)
    assert "\x1b" not in result.stdout
    assert r"eve\x1b[2J" in result.stdout
    assert "2026-01-01 10:00:00.250" in result.stdout
    assert "1500.8" in result.stdout


@integration
def test_no_rows(stored: Environ) -> None:
    """Said on stderr; the header is there all the same."""
    result = run("cost_by_model", "--since", "2025-01-01", "--until", "2025-01-02", environ=stored)
    assert (result.exit_code, "no rows" in result.stderr) == (0, True)
    assert (
        run(
            "cost_by_model", "--until", "2025-01-02", "--since", "2025-01-01", "-f", "json", environ=stored
        ).stdout
        == "[]\n"
    )


@integration
def test_json_has_exact_money_and_times_with_their_zone(stored: Environ) -> None:
    """As a number with all its digits, which a program may read as a decimal."""
    result = run("slowest_requests", *JANUARY, "--format", "json", environ=stored)
    rows = json.loads(result.stdout, parse_float=Decimal)
    assert [(row["request_id"], row["cost_usd"]) for row in rows] == [
        ("2", Decimal("0.2")),
        ("1", Decimal("0.100000001")),
        ("3", 0),
    ]
    assert rows[1]["accepted_at"] == "2026-01-01T10:00:00.250000Z"


@integration
def test_csv_and_parquet_go_to_files(stored: Environ, tmp_path: Path) -> None:
    """Complete ones, of ClickHouse's own making."""
    for name in ("csv", "parquet"):
        path = tmp_path / f"costs.{name}"
        result = run("cost_by_model", *JANUARY, "-f", name, "-o", str(path), environ=stored)
        assert (result.exit_code, result.stdout) == (0, ""), result.output
    rows = list(csv.DictReader(io.StringIO((tmp_path / "costs.csv").read_text())))
    assert [(row["model"], Decimal(row["cost_usd"])) for row in rows] == [
        ("gpt-4o-mini", Decimal("0.2")),
        ("gpt-4o", Decimal("0.100000001")),
        ("", Decimal(0)),
    ]
    table = pq.read_table(tmp_path / "costs.parquet")
    assert table["cost_usd"].to_pylist() == [Decimal(row["cost_usd"]) for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["costs.csv", "costs.parquet"]


@integration
def test_csv_on_stdout(stored: Environ) -> None:
    """For a pipe."""
    result = run("cost_totals", *JANUARY, "--format", "csv", environ=stored)
    assert result.stdout.splitlines()[0].startswith('"requests","successful"')


@integration
def test_a_file_that_cannot_be_written(stored: Environ, tmp_path: Path) -> None:
    """Exit code 2, with its name."""
    path = tmp_path / "nowhere" / "costs.csv"
    result = run("cost_totals", *JANUARY, "-f", "csv", "-o", str(path), environ=stored)
    assert result.exit_code == 2
    assert str(path) in result.output.replace("\n", "")


@integration
def test_a_table_does_not_go_to_a_file(stored: Environ, tmp_path: Path) -> None:
    """It is for people; and no empty file is left behind."""
    result = run("cost_totals", *JANUARY, "-o", str(tmp_path / "costs.txt"), environ=stored)
    assert result.exit_code == 2
    assert "--format csv, json or parquet" in result.output
    assert list(tmp_path.iterdir()) == []


@integration
@pytest.mark.parametrize("reader", [True, False])
def test_beside_a_running_up_no_variable_is_needed(
    stored: Environ, clickhouse_url: str, tmp_path: Path, reader: bool
) -> None:
    """Its reader is asked; an older one's only user is, too. This process stands for its supervisor."""
    home = Home(tmp_path)
    home.write(
        "endpoints",
        Endpoints(
            kafka="",
            redis="",
            clickhouse=f"http://127.0.0.1:{free_port()}" if reader else clickhouse_url,
            clickhouse_reader=clickhouse_url if reader else None,
            ingest="",
            analytics="",
            simulator=None,
            api_key="",
            admin_key="",
        ),
    )
    home.write(
        "status",
        UpStatus(
            supervisor_pid=os.getpid(),
            supervisor_start_s=start_after_boot_s(os.getpid()),
            ready=True,
            processes=(),
        ),
    )
    database = {"HEADRACE_CLICKHOUSE_DATABASE": stored["HEADRACE_CLICKHOUSE_DATABASE"]}
    result = run("cost_totals", *JANUARY, "-f", "json", "--data-dir", str(tmp_path), environ=database)
    assert json.loads(result.stdout)[0]["requests"] == 3

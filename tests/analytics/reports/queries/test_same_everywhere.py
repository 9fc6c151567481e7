"""A question to the rollups has one answer: in every format, on the command line, in SQL, from the rows."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import clickhouse_connect
import pyarrow.ipc
import pytest
from typer.testing import CliRunner

from analytics.reports.catalogue import Catalogue
from analytics.reports.reader import AnalystReader, ReaderLimits
from headrace.cli.app import build_app
from tests.analytics.api.analysts import ADMIN, app_of, client_of
from tests.analytics.reader_url import reader_url
from tests.analytics.reports.queries.page_cases import CASES

pytestmark = pytest.mark.integration

CATALOGUE = Catalogue.load()
NAMES = [
    query.name
    for query in CATALOGUE
    if query.group == "traffic" or any(parameter.name == "source" for parameter in query.parameters)
]
LIMITS = ReaderLimits(timeout_s=30, result_rows=100_000, result_bytes=1 << 26, memory_bytes=1 << 30)
CUT = CASES[2]
GIVEN = {"since": CUT.since.isoformat(), "until": CUT.until.isoformat(), "tenant": "acme"}

Rows = list[dict[str, Any]]


@pytest.fixture
async def reader(known_database: str, clickhouse_url: str) -> AsyncIterator[AnalystReader]:
    """A reader of the known requests."""
    url = reader_url(clickhouse_url, known_database)
    connected = AnalystReader(url, database=known_database, limits=LIMITS)
    yield connected
    await connected.close()


@pytest.fixture
def typed(known_database: str, clickhouse_url: str) -> Callable[..., Rows]:
    """`headrace report` and `headrace sql`, as they are typed."""
    environ = {"HEADRACE_CLICKHOUSE_URL": clickhouse_url, "HEADRACE_CLICKHOUSE_DATABASE": known_database}

    def typed(*arguments: str) -> Rows:
        result = CliRunner().invoke(build_app([arguments[0]]), [*arguments, "--format", "json"], env=environ)
        assert result.exit_code == 0, result.output
        rows: Rows = json.loads(result.stdout, parse_float=Decimal)
        return rows

    return typed


@pytest.mark.parametrize("name", NAMES)
async def test_over_http_and_on_the_command_line(
    name: str, reader: AnalystReader, typed: Callable[..., Rows]
) -> None:
    """The same rows in the same order, money with the same digits; a tenant's rows for the admin too."""
    asked = {**GIVEN, "limit": "5"} if _takes_limit(name) else GIVEN
    async with client_of(app_of(CATALOGUE, reader), ADMIN) as client:
        answers = {
            form: await client.get(f"/v1/analytics/queries/{name}/rows", params={**asked, "format": form})
            for form in ("json", "csv", "arrow")
        }
    assert {answer.status_code for answer in answers.values()} == {200}
    rows = json.loads(answers["json"].text, parse_float=Decimal)["rows"]
    assert rows
    assert list(csv.DictReader(io.StringIO(answers["csv"].text))) == [
        {column: "" if value is None else str(value) for column, value in row.items()} for row in rows
    ]
    table = pyarrow.ipc.open_stream(answers["arrow"].content).read_all()
    assert [_comparable(row) for row in table.to_pylist()] == [_comparable(row) for row in rows]
    options = [f"--param={key}={value}" for key, value in asked.items()]
    assert [_comparable(row) for row in typed("report", name, *options)] == [_comparable(row) for row in rows]


async def test_in_sql(known_database: str, clickhouse_url: str, typed: Callable[..., Rows]) -> None:
    """What an analyst counts by hand on the rows themselves; and the SQL that the catalogue shows."""
    window = (
        f"accepted_at >= '{CUT.since:%Y-%m-%d %H:%M:%S.%f}' "
        f"AND accepted_at < '{CUT.until:%Y-%m-%d %H:%M:%S.%f}' AND tenant = 'acme'"
    )
    [by_hand] = typed(
        "sql",
        "SELECT count() AS requests, sum(cost_usd) AS cost_usd, sum(input_tokens) AS input_tokens, "
        f"countIf(cache_hit) AS cache_hits FROM requests WHERE {window}",
    )
    options = [f"--param={key}={value}" for key, value in GIVEN.items()]
    [totals] = typed("report", "traffic_totals", *options)
    assert {name: totals[name] for name in by_hand} == by_hand
    for name in ("cost_by", "traffic_series", "cost_by_user"):
        rows = typed("report", name, *options)
        assert sum(row["requests"] for row in rows) == by_hand["requests"], name
        assert sum((Decimal(row["cost_usd"]) for row in rows), Decimal(0)) == by_hand["cost_usd"], name
    bound = CATALOGUE.bind("traffic_totals", GIVEN)
    with clickhouse_connect.get_client(dsn=clickhouse_url, database=known_database) as client:
        [row] = client.query(bound.sql, parameters=bound.parameters).named_results()
    assert _comparable(row) == _comparable(totals)


ROLLUPS = {"source": "rollups"}
#: Two questions whose answers must agree, with the columns that both have.
PAIRS = [
    (
        "traffic_totals",
        {},
        "cost_totals",
        ("requests", "successful", "cache_hits", "input_tokens", "cost_usd"),
    ),
    ("cost_by", {}, "cost_by_model", ("requests", "successful", "input_tokens", "output_tokens", "cost_usd")),
    ("cost_by_user", ROLLUPS, "cost_by_user", ("tenant", "user_id", "requests", "output_tokens", "cost_usd")),
    ("failures", ROLLUPS, "failures", ("status", "error_code", "requests", "request_share", "cost_usd")),
    (
        "errors_by_provider",
        ROLLUPS,
        "errors_by_provider",
        ("provider", "model", "error", "failed", "calls", "cost_usd"),
    ),
    ("provider_calls", {}, "calls_by_model", ("provider", "model", "orphaned", "shadow", "cost_usd")),
    ("blocks_by_rule", {}, "guardrail_blocks", ("side", "rule", "blocked")),
]


@pytest.mark.parametrize(("name", "given", "other", "columns"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_rollups_and_rows_say_the_same(
    name: str, given: dict[str, str], other: str, columns: tuple[str, ...], typed: Callable[..., Rows]
) -> None:
    """Over a window that cuts hours and days."""
    found, expected = (
        sorted(
            (
                tuple(row[column] for column in columns)
                for row in typed(
                    "report", asked, *(f"--param={key}={value}" for key, value in {**GIVEN, **more}.items())
                )
            ),
            key=repr,
        )
        for asked, more in ((name, given), (other, {}))
    )
    assert found
    assert found == expected


def _takes_limit(name: str) -> bool:
    return any(parameter.name == "limit" for parameter in CATALOGUE.get(name).parameters)


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as every format can say it: money to the last digit, other numbers as floats."""
    return {
        column: None if value is None else Decimal(value) if column.endswith("_usd") else _plain(value)
        for column, value in row.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, str) and value[10:11] == "T" and value.endswith("Z"):
        return datetime.fromisoformat(value)
    return float(value) if isinstance(value, float | Decimal | int) else value

"""Every query of the catalogue: it runs, returns what it documents, and is documented where analysts look."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from analytics.reports.catalogue import Catalogue
from analytics.reports.query import Query
from tests.analytics.reports.queries.known import LOGS, SINCE, UNTIL

CATALOGUE = Catalogue.load()
DOCS = Path(__file__).parents[4] / "docs" / "analytics.md"
TESTS = Path(__file__).parent
every_query = pytest.mark.parametrize("query", list(CATALOGUE), ids=CATALOGUE.names())
#: They count without grouping, so that they have a row even where nothing is.
_ALWAYS_ONE_ROW = {"cost_totals": 1, "duplicates": 3, "traffic_totals": 1}


_TABLES = (
    "(?:requests|stages|llm_calls|scores|payloads|alerts)(?:_raw)?|"
    "(?:requests|stages|calls|latency|stage_latency)_1h|(?:cost|users|quality)_1d"
)
#: A table with its alias, and the query up to the next table.
_READS = re.compile(
    rf"\b(?:FROM|JOIN) (?:{_TABLES}) AS (?P<alias>\w+)(?P<rest>.*?)(?=\b(?:FROM|JOIN) (?:{_TABLES}) AS|\Z)",
    re.DOTALL,
)


def given(query: Query, **values: object) -> dict[str, object]:
    """Values for every parameter that must be given."""
    required = {parameter.name for parameter in query.parameters if parameter.default is None}
    return {"since": SINCE, "until": UNTIL, **dict.fromkeys(required, LOGS[0].request_id), **values}


@pytest.fixture(scope="module")
def client(clickhouse_url: str, known_database: str) -> Iterator[Client]:
    """A client that cannot write: making one asks ClickHouse more than a test does."""
    settings = {"readonly": "1"}
    with clickhouse_connect.get_client(
        dsn=clickhouse_url, database=known_database, settings=settings
    ) as connected:
        yield connected


@every_query
@pytest.mark.integration
def test_it_returns_what_it_documents(query: Query, client: Client) -> None:
    """Exactly these columns, in this order, with values of their units; and it cannot need to write."""
    bound = query.bind(given(query))
    result = client.query(bound.sql, parameters=bound.parameters)
    assert list(result.column_names) == [column.name for column in query.columns]
    assert result.result_rows
    for column, kind in zip(query.columns, result.column_types, strict=True):
        assert _fits(column.unit, kind.name), f"{column.name} [{column.unit}] is a {kind.name}"


@every_query
@pytest.mark.integration
def test_a_tenant_without_requests_sees_nothing(query: Query, client: Client) -> None:
    """Whatever stands in its name: it is a value, never SQL."""
    for tenant in ("nobody", "' OR 1 = 1 --", "acme\\"):
        bound = query.bind(given(query, tenant=tenant))
        rows = client.query(bound.sql, parameters=bound.parameters).result_rows
        assert len(rows) == _ALWAYS_ONE_ROW.get(query.name, 0)
        assert not any(value for row in rows for value in row if not isinstance(value, str))


@every_query
def test_every_table_that_it_reads_is_filtered_by_tenant(query: Query) -> None:
    """Whoever asks without ClickHouse's own filter (the command line, dashboards, ingest) relies on it."""
    reads = list(_READS.finditer(query.sql))
    assert len(reads) == len(re.findall(rf"\b(?:FROM|JOIN) (?:{_TABLES})\b", query.sql))
    for read in reads:
        assert f"{read['alias']}.tenant = {{tenant:String}}" in read["rest"], read[0]


@every_query
def test_its_figures_are_tested_on_known_data(query: Query) -> None:
    """A test of `queries/` asks it."""
    asked = "".join(
        path.read_text("utf-8") for path in TESTS.glob("test_*.py") if path.name != Path(__file__).name
    )
    assert f'"{query.name}"' in asked


@every_query
def test_its_name_and_texts_are_in_form(query: Query) -> None:
    """Short titles without a full stop, sentences with one; money says so in its name."""
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,39}", query.name)
    assert len(query.title) <= 50
    assert not query.title.endswith(".")
    assert query.description.endswith(".")
    for column in query.columns:
        assert column.name.endswith("_usd") == (column.unit == "USD"), column.name
        assert column.name.endswith("_ms") == (column.unit == "ms"), column.name
        assert column.name.endswith("_share") == (column.unit == "share"), column.name


def test_the_docs_list_the_catalogue() -> None:
    """Each query with its title, by group, and no other."""
    _, _, listing = DOCS.read_text("utf-8").partition("\n## The queries\n")
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (.+?) \|", listing, re.MULTILINE)
    listed = [(query.name, query.title) for query in CATALOGUE]
    assert rows == listed


def test_the_files_are_in_the_package() -> None:
    """They are found where they are installed, not where the sources are."""
    assert (files("analytics.reports") / "queries" / "cost_totals.sql").is_file()


def _fits(unit: str, kind: str) -> bool:
    kind = re.sub(r"(?:Nullable|LowCardinality)\((.*)\)$", r"\1", kind)
    kind = re.sub(r"(?:Nullable|LowCardinality)\((.*)\)$", r"\1", kind)
    fitting = {
        "USD": ("Decimal", "Float"),
        "score": ("Decimal", "Float"),
        "name": ("String", "FixedString"),
        "id": ("String",),
        "text": ("String", "Array"),
        "day": ("Date",),
        "time": ("DateTime64",),  # Arrow has no DateTime: it becomes a bare number
        "flag": ("Bool",),
        "ms": ("Float",),
        "s": ("Float",),
        "share": ("Float",),
        "ratio": ("Float",),
        "measure": ("Float",),
        "cosine": ("Float",),
        "tokens/s": ("Float",),
        "tokens": ("UInt", "Int", "Float"),
    }.get(unit, ("UInt", "Int"))
    return kind.startswith(fitting)

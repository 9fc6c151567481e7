"""The dashboards: as they are made, of Grafana's shape; every panel's SQL runs and is the catalogue's."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import pytest_asyncio
import yaml

from analytics.clickhouse import ClickHouse
from analytics.reports.catalogue import Catalogue
from analytics.reports.query import Query
from analytics.sink.rows import rows_of
from deploy.grafana.generate.__main__ import files, main
from deploy.grafana.generate.dashboards import DASHBOARDS, Dashboard, dashboard_json
from deploy.grafana.generate.panels import DATA_SOURCE, Panel
from deploy.grafana.generate.statements import STANDARD, grafana_sql
from streams.errors import ConfigurationError
from tests.analytics.logs import NOON, make_log
from tests.databases import fresh_database

DEPLOY = Path(__file__).parents[3] / "deploy"
FOLDER = DEPLOY / "grafana"
CATALOGUE = Catalogue.load()
PANELS = [
    pytest.param(panel, id=f"{dashboard.uid}-{place}-{panel.query}")
    for dashboard in DASHBOARDS
    for place, panel in enumerate(dashboard.panels)
]

#: What Grafana's documentation of its dashboard JSON requires of one, as far as we use it.
SHAPE: Mapping[str, Any] = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "time", "templating", "panels"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "time": {"type": "object", "required": ["from", "to"]},
        "templating": {"type": "object", "required": ["list"]},
        "panels": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": [
                    "id",
                    "type",
                    "title",
                    "datasource",
                    "gridPos",
                    "targets",
                    "fieldConfig",
                    "options",
                ],
                "properties": {
                    "id": {"type": "integer", "minimum": 1},
                    "type": {"enum": ["stat", "timeseries", "barchart", "table"]},
                    "datasource": {"const": dict(DATA_SOURCE)},
                    "gridPos": {
                        "type": "object",
                        "required": ["x", "y", "w", "h"],
                        "properties": {
                            "x": {"type": "integer", "minimum": 0, "maximum": 23},
                            "y": {"type": "integer", "minimum": 0},
                            "w": {"type": "integer", "minimum": 1, "maximum": 24},
                            "h": {"type": "integer", "minimum": 1},
                        },
                    },
                    "targets": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["refId", "datasource", "editorType", "rawSql"],
                        },
                    },
                },
            },
        },
    },
}


def as_grafana_sends(sql: str, *, since: datetime, until: datetime, tenant: str = "") -> str:
    """Replace macros and variables as Grafana and its plugin do."""

    def instant(at: datetime) -> str:
        return f"fromUnixTimestamp64Milli({int(at.timestamp() * 1000)})"

    quoted = tenant.replace("'", "''")
    sent = sql.replace("$__fromTime_ms", instant(since)).replace("$__toTime_ms", instant(until))
    sent = sent.replace("${tenant:sqlstring}", f"'{quoted}'")
    assert "$" not in sent, "Grafana would take this for a variable"
    return sent


def test_the_files_are_what_the_code_makes() -> None:
    """Whoever changes a query or a panel runs python -m deploy.grafana.generate."""
    found = {path.name: path.read_bytes() for path in (FOLDER / "dashboards").iterdir()}
    assert found == files(CATALOGUE)


@pytest.mark.parametrize("path", sorted((FOLDER / "dashboards").iterdir()), ids=lambda path: path.stem)
def test_a_dashboard_has_grafanas_shape(path: Path) -> None:
    """Its panels have ids of their own, lie within 24 columns, and over nobody else."""
    dashboard = msgspec.json.decode(path.read_bytes())
    jsonschema.validate(dashboard, SHAPE)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert max(x for x, _ in cells) < 24
    assert len(set(cells)) == len(cells)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panels_sql_is_the_catalogues(panel: Panel) -> None:
    """But for the macros in place of the time, the variable in place of the tenant, and literals."""
    query = CATALOGUE.get(panel.query)
    parts = re.split(r"\{([a-z_0-9]+):[^{}]+\}", query.sql)
    literal = r"(?:-?[0-9.]+|'[^']*')"
    pattern = "".join(
        (re.escape(STANDARD[part]) if part in STANDARD else literal) if place % 2 else re.escape(part)
        for place, part in enumerate(parts)
    )
    assert re.fullmatch(pattern, grafana_sql(query, panel.parameters))
    assert "{" not in grafana_sql(query, panel.parameters).replace("${tenant:sqlstring}", "")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(clickhouse_url: str) -> AsyncIterator[str]:
    """A database with a few rows, for all panels."""
    async with fresh_database(clickhouse_url, "grafana") as (name, clickhouse):
        for number in range(3):
            log = make_log(
                f"r-{number}", tenant=f"tenant{number % 2}", accepted_at=NOON - timedelta(hours=number)
            )
            for table, rows in rows_of(log, ingested_at=NOON).rows:
                if rows:
                    await clickhouse.insert(table.name, table.columns, rows, token=f"{table.name}{number}")
        yield name


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("panel", PANELS)
async def test_a_panels_sql_runs_and_has_its_columns(
    panel: Panel, clickhouse_url: str, database: str
) -> None:
    """As Grafana sends it, for all tenants and for one, and for one that tries to be clever."""
    query = CATALOGUE.get(panel.query)
    sql = grafana_sql(query, panel.parameters)
    clickhouse = ClickHouse(clickhouse_url, database=database, timeout_s=60)
    span = {"since": NOON - timedelta(days=2), "until": NOON + timedelta(days=1)}
    try:
        rows = await clickhouse.query(as_grafana_sends(sql, **span))
        names = {column.name for column in query.columns}
        assert all(set(row) == names for row in rows)
        await clickhouse.query(as_grafana_sends(sql, tenant="tenant0", **span))
        clever = await clickhouse.query(as_grafana_sends(sql, tenant="x' OR 1 = 1 OR '", **span))
        assert not any(row.get("tenant") for row in clever)
    finally:
        await clickhouse.close()


def test_the_hours_are_filled_for_the_overview() -> None:
    """The variable is a text box that is empty at first: all tenants."""
    (variable,) = dashboard_json(DASHBOARDS[0], CATALOGUE)["templating"]["list"]
    assert (variable["type"], variable["name"], variable["current"]["value"]) == ("textbox", "tenant", "")


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        (Panel(query="cost_by_model", kind="table", columns=("model", "nonsense")), "no column nonsense"),
        (Panel(query="cost_by_model", kind="timeseries", columns=("model", "cost_usd")), "that is a time"),
        (Panel(query="request", kind="table"), "needs a value for request_id"),
        (Panel(query="cost_by_model", kind="table", parameters={"nonsense": "1"}), "no parameter nonsense"),
        (Panel(query="cost_split", kind="table"), "cannot hold prices"),
    ],
)
def test_a_panel_that_cannot_be_is_refused(panel: Panel, message: str) -> None:
    """With what is wrong about it."""
    dashboard = Dashboard(uid="x", title="X", description="", since="now-1h", panels=(panel,))
    with pytest.raises(ConfigurationError, match=message):
        dashboard_json(dashboard, CATALOGUE)


def test_texts_are_quoted() -> None:
    """A value with quotes stays one value."""
    query: Query = CATALOGUE.get("experiment_arms")
    assert r"'it\'s'" in grafana_sql(query, {"experiment": "it's"})


def test_the_command_writes_the_files(tmp_path: Path) -> None:
    """Into a folder that it makes."""
    main([str(tmp_path / "new")])
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"{each.uid}.json" for each in DASHBOARDS}


def test_provisioning_points_at_what_there_is() -> None:
    """Data source, dashboards and the compose file agree about names and places."""
    source = yaml.safe_load((FOLDER / "provisioning/datasources/headrace.yaml").read_text())["datasources"][0]
    assert {"type": source["type"], "uid": source["uid"]} == DATA_SOURCE
    provider = yaml.safe_load((FOLDER / "provisioning/dashboards/headrace.yaml").read_text())["providers"][0]
    service = yaml.safe_load((DEPLOY / "compose.grafana.yaml").read_text())["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    used = set(
        re.findall(r"\$(HEADRACE_[A-Z_]+)", (FOLDER / "provisioning/datasources/headrace.yaml").read_text())
    )
    assert used <= set(service["environment"])

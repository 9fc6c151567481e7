"""One panel of a dashboard, in Grafana's JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from analytics.reports.query import Column, Query
from deploy.grafana.generate.statements import grafana_sql

DATA_SOURCE: Mapping[str, str] = {"type": "grafana-clickhouse-datasource", "uid": "headrace-clickhouse"}

#: Grafana's names of the catalogue's units; of the others it shows plain numbers.
_UNITS: Mapping[str, str] = {"USD": "currencyUSD", "ms": "ms", "s": "s", "share": "percentunit"}
_CENTS = 4
_TABLE_FORMAT = 1  # the plugin's: a table, whatever its columns

PanelKind = Literal["stat", "timeseries", "barchart", "table"]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of one query.

    Attributes:
        query: its name in the catalogue.
        kind: how it is shown.
        columns: which columns, in their order; none: all.
        by: of a time series, the column with a line for each of its values.
        title: instead of the query's.
        parameters: other values than the defaults.
        width: of 24 columns.
        height: in Grafana's rows of 30 pixels.
        stacked: whether lines or bars stand on each other.
    """

    query: str
    kind: PanelKind
    columns: Sequence[str] = ()
    by: str | None = None
    title: str | None = None
    parameters: Mapping[str, str] = {}
    width: int = 12
    height: int = 8
    stacked: bool = False


def panel_json(panel: Panel, query: Query, *, number: int, x: int, y: int) -> dict[str, Any]:
    """Return the JSON of a panel.

    Args:
        panel: what it shows.
        query: its query.
        number: its id on the dashboard.
        x: its left edge.
        y: its upper edge.

    Raises:
        ConfigurationError: as `grafana_sql`.
    """
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title or query.title,
        "description": query.description,
        "datasource": dict(DATA_SOURCE),
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [_target(panel, query)],
        "transformations": _transformations(panel),
        "fieldConfig": {
            "defaults": {"custom": _custom(panel)},
            "overrides": [
                _override(column)
                for column in query.columns
                if not panel.columns or column.name in panel.columns
            ],
        },
        "options": _options(panel),
    }


def _target(panel: Panel, query: Query) -> dict[str, Any]:
    return {
        "refId": "A",
        "datasource": dict(DATA_SOURCE),
        "editorType": "sql",
        "queryType": "table",
        "format": _TABLE_FORMAT,
        "rawSql": grafana_sql(query, panel.parameters),
    }


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if panel.columns:
        names = [*panel.columns, *([panel.by] if panel.by else [])]
        found.append({"id": "filterFieldsByName", "options": {"include": {"names": names}}})
    if panel.by:
        found.append({"id": "partitionByValues", "options": {"fields": [panel.by], "keepFields": False}})
    return found


def _custom(panel: Panel) -> dict[str, Any]:
    stacking = {"mode": "normal" if panel.stacked else "none"}
    if panel.kind == "timeseries":
        return {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "stacking": stacking}
    return {}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        return {
            "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
            "textMode": "value_and_name",
            "colorMode": "none",
        }
    if panel.kind == "barchart":
        return {
            "orientation": "auto",
            "xField": panel.columns[0],
            "stacking": "normal" if panel.stacked else "none",
            "showValue": "auto",
        }
    return {"showHeader": True, "cellHeight": "sm"}


def _override(column: Column) -> dict[str, Any]:
    """Return how a column is shown: under a readable name, in its unit, with what it means."""
    properties: list[dict[str, Any]] = [{"id": "description", "value": column.doc}]
    unit = _UNITS.get(column.unit)
    if unit is not None:
        properties.append({"id": "unit", "value": unit})
    if column.unit == "USD":
        properties.append({"id": "decimals", "value": _CENTS})
    return {"matcher": {"id": "byName", "options": column.name}, "properties": properties}

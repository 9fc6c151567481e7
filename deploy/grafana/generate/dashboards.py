"""The dashboards as data, and their JSON: every panel shows a query of the catalogue."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from analytics.reports.catalogue import Catalogue
from deploy.grafana.generate.panels import Panel, panel_json
from streams.errors import ConfigurationError

_COLUMNS = 24
_SCHEMA_VERSION = 39  # Grafana 11's; later ones take it over


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard: the panels flow from left to right, and down."""

    uid: str
    title: str
    description: str
    since: str
    panels: Sequence[Panel]


_HOURS = "traffic_by_hour"

DASHBOARDS: tuple[Dashboard, ...] = (
    Dashboard(
        uid="headrace-overview",
        title="Headrace: overview",
        description="Volume, outcomes, spend and latency.",
        since="now-24h",
        panels=(
            Panel(query="cost_totals", kind="stat", width=24, height=4),
            Panel(
                query=_HOURS,
                kind="timeseries",
                title="Requests by outcome",
                columns=("hour", "answered", "cached", "blocked", "errors", "cancelled"),
                stacked=True,
            ),
            Panel(query=_HOURS, kind="timeseries", title="Spend by hour", columns=("hour", "cost_usd")),
            Panel(
                query=_HOURS,
                kind="timeseries",
                title="Latency by hour",
                columns=("hour", "p50_latency_ms", "p95_latency_ms"),
            ),
            Panel(
                query=_HOURS,
                kind="timeseries",
                title="Errors, blocks and cache hits",
                columns=("hour", "error_share", "block_share", "hit_share"),
            ),
            Panel(
                query="hours_against_usual",
                kind="timeseries",
                title="Requests against the usual",
                columns=("hour", "requests", "usual_requests"),
            ),
            Panel(
                query="hours_against_usual",
                kind="timeseries",
                title="Spend against the usual",
                columns=("hour", "cost_usd", "usual_cost_usd"),
            ),
            Panel(query="failures", kind="table"),
            Panel(query="latest_requests", kind="table"),
        ),
    ),
    Dashboard(
        uid="headrace-cost",
        title="Headrace: cost",
        description="What is spent: by day, model, tenant, user and prompt version.",
        since="now-7d",
        panels=(
            Panel(query="cost_totals", kind="stat", width=24, height=4),
            Panel(
                query="cost_by_day",
                kind="timeseries",
                columns=("day", "cost_usd"),
                by="model",
                stacked=True,
            ),
            Panel(query="cost_by_model", kind="barchart", columns=("model", "cost_usd")),
            Panel(query="cost_by_tenant", kind="table"),
            Panel(query="cost_by_user", kind="table"),
            Panel(query="cost_by_prompt", kind="table"),
            Panel(query="cost_per_success", kind="table"),
            Panel(query="cost_per_request", kind="table"),
            Panel(query="calls_by_model", kind="table"),
            Panel(query="cache_kinds", kind="table"),
            Panel(query="cache_savings", kind="table"),
        ),
    ),
    Dashboard(
        uid="headrace-latency",
        title="Headrace: latency",
        description="Where the time goes: by stage, model and user.",
        since="now-24h",
        panels=(
            Panel(
                query=_HOURS,
                kind="timeseries",
                title="Latency by hour",
                columns=("hour", "p50_latency_ms", "p95_latency_ms"),
            ),
            Panel(
                query="latency_by_stage",
                kind="barchart",
                title="95th percentile by stage: work and wait",
                columns=("stage", "p95_work_ms", "p95_queue_ms"),
                stacked=True,
            ),
            Panel(query="latency_by_stage", kind="table"),
            Panel(query="latency_by_model", kind="table"),
            Panel(query="time_to_first_token", kind="table"),
            Panel(query="output_speed", kind="table"),
            Panel(query="latency_by_status", kind="table"),
            Panel(query="queue_vs_work", kind="table"),
            Panel(query="slowest_requests", kind="table"),
            Panel(query="slowest_users", kind="table"),
        ),
    ),
    Dashboard(
        uid="headrace-guardrail",
        title="Headrace: guardrails",
        description="What was stopped, redacted or repaired, and why.",
        since="now-7d",
        panels=(
            Panel(
                query=_HOURS,
                kind="timeseries",
                title="Share of blocked requests",
                columns=("hour", "block_share"),
            ),
            Panel(query=_HOURS, kind="timeseries", title="Blocked requests", columns=("hour", "blocked")),
            Panel(query="guardrail_blocks", kind="table"),
            Panel(query="output_rejects", kind="table"),
            Panel(query="personal_data", kind="table"),
            Panel(query="failures", kind="table"),
        ),
    ),
    Dashboard(
        uid="headrace-pipeline",
        title="Headrace: pipeline",
        description="Whether rows are fresh and single, providers answer, and stages keep up.",
        since="now-24h",
        panels=(
            Panel(
                query="late_rows",
                kind="timeseries",
                title="From the reply to the row",
                columns=("day", "p50_delay_s", "p99_delay_s"),
            ),
            Panel(query="late_rows", kind="table"),
            Panel(
                query="alerts",
                kind="table",
                columns=("raised_at", "resolved_at", "rule", "tenant", "severity", "duration_s", "message"),
                width=24,
            ),
            Panel(query="duplicates", kind="table"),
            Panel(query="queue_vs_work", kind="table"),
            Panel(query="errors_by_provider", kind="table"),
            Panel(query="fallbacks", kind="table"),
        ),
    ),
)


def dashboard_json(dashboard: Dashboard, catalogue: Catalogue) -> dict[str, Any]:
    """Return the JSON of a dashboard.

    Raises:
        UnknownQuery: the catalogue has no query of a panel.
        ConfigurationError: a panel names a column or a parameter that its query does not have.
    """
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["headrace"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": False,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {"list": [_tenant_variable()]},
        "links": [
            {
                "type": "dashboards",
                "title": "Headrace",
                "tags": ["headrace"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": _placed(dashboard, catalogue),
    }


def _tenant_variable() -> dict[str, Any]:
    """A text box: its value is empty for all tenants, which no list of values in Grafana can be."""
    return {
        "type": "textbox",
        "name": "tenant",
        "label": "Tenant (empty: all)",
        "query": "",
        "current": {"text": "", "value": ""},
        "options": [{"selected": True, "text": "", "value": ""}],
        "hide": 0,
        "skipUrlSync": False,
    }


def _placed(dashboard: Dashboard, catalogue: Catalogue) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    x = y = tallest = 0
    for number, panel in enumerate(dashboard.panels, start=1):
        query = catalogue.get(panel.query)
        _check_columns(panel, {column.name: column.unit for column in query.columns})
        if x + panel.width > _COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        found.append(panel_json(panel, query, number=number, x=x, y=y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return found


def _check_columns(panel: Panel, units: Mapping[str, str]) -> None:
    wanted = [*panel.columns, *([panel.by] if panel.by else [])]
    unknown = [name for name in wanted if name not in units]
    if unknown:
        raise ConfigurationError(f"the query {panel.query} has no column {', '.join(unknown)}")
    if panel.kind == "timeseries" and units[panel.columns[0]] not in ("day", "time"):
        raise ConfigurationError(f"a time series of {panel.query} must begin with a column that is a time")

"""Macros in the catalogue's SQL: conditions and expressions that many queries need, defined once.

``$window(r)`` becomes the conditions on time and tenant of the table alias ``r``. Arguments hold neither
commas nor parentheses. ClickHouse, `headrace report --explain` and the dashboards see the expanded statement
only.
"""

import re
from collections.abc import Mapping
from typing import Final

_SINCE, _UNTIL = "{since:DateTime64(6, 'UTC')}", "{until:DateTime64(6, 'UTC')}"

#: The text of each macro; ``%1`` and ``%2`` are its arguments.
MACROS: Final[Mapping[str, str]] = {
    # ── conditions ──
    "tenant": "({tenant:String} = '' OR %1.tenant = {tenant:String})",
    "window": f"%1.accepted_at >= {_SINCE}\nAND %1.accepted_at < {_UNTIL}\nAND $tenant(%1)",
    # Rows of rollups by the hour, and by the day: part whole_hours, part whole_days.
    "hours": "%1.day >= toDate(first_hour)\nAND %1.day <= toDate(end_hour)\n"
    "AND %1.hour >= first_hour\nAND %1.hour < end_hour",
    "days": "%1.day >= first_day\nAND %1.day < end_day\nAND $tenant(%1)",
    # Rows of the partial hours, or days, at the ends of the window.
    "partial_hours": "$window(%1)\nAND (%1.accepted_at < first_hour OR %1.accepted_at >= end_hour)",
    "partial_days": "$window(%1)\nAND (%1.accepted_at < first_day_at OR %1.accepted_at >= end_day_at)",
    "equals": "({%2:String} = '' OR %1.%2 = {%2:String})",
    "filters": "$equals(%1, model)\nAND $equals(%1, prompt_template)\nAND $equals(%1, prompt_version)\n"
    "AND $equals(%1, experiment)",
    # ── percentiles ──
    # Of rollups: the relative error (1 %), then the levels.
    "levels": "0.01, 0.5, 0.95, 0.99",
    "percentiles": "quantileExact(0.5)(%1) AS p50_%2,\nquantileExact(0.95)(%1) AS p95_%2,\n"
    "quantileExact(0.99)(%1) AS p99_%2",
    "median_and_p95": "quantileExact(0.5)(%1) AS p50_%2,\nquantileExact(0.95)(%1) AS p95_%2",
    # Of a sketch in microseconds: %1 is f.%1_us_sketch.
    "sketch_percentiles": "(quantilesDDMerge($levels())(f.%1_us_sketch) AS %1_us)[1] / 1000 AS p50_%1_ms,\n"
    "%1_us[2] / 1000 AS p95_%1_ms,\n%1_us[3] / 1000 AS p99_%1_ms",
    # Of the requests' own latencies (g.own_sketch) together with those of whole hours (l.latency_ms_sketch).
    "own_sketch": "quantilesDDStateIf($levels())(\n    assumeNotNull(f.latency_ms), "
    "f.latency_ms IS NOT NULL\n)",
    "joined_latency": "(\n    arrayMap(\n        one -> if(isNaN(one), NULL, one), "
    "finalizeAggregation(g.own_sketch + l.latency_ms_sketch)\n    ) AS latency_ms\n)[1] AS p50_latency_ms,\n"
    "latency_ms[2] AS p95_latency_ms",
    "hour_sketch": "quantilesDDMergeState($levels())(f.latency_ms_sketch)",
}

_CALL: Final = re.compile(r"\$([a-z][a-z0-9_]*)\(([^()]*)\)")


def expanded(sql: str) -> str:
    """Return a statement with its macros replaced and indented; `ValueError` for an unknown one."""
    while (call := _CALL.search(sql)) is not None:
        sql = sql[: call.start()] + _text(call, sql) + sql[call.end() :]
    return sql


def _text(call: re.Match[str], sql: str) -> str:
    text = MACROS.get(call[1])
    if text is None:
        raise ValueError(f"there is no macro ${call[1]}; there are: {', '.join(MACROS)}")
    for number, argument in enumerate(call[2].split(","), start=1):
        text = text.replace(f"%{number}", argument.strip())
    line = sql[sql.rfind("\n", 0, call.start()) + 1 : call.start()]
    indent = " " * (len(line) - len(line.lstrip()))
    if line.lstrip().startswith("WHERE "):
        indent += "    "
    return text.replace("\n", f"\n{indent}")

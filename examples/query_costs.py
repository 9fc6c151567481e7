"""What was spent, straight from ClickHouse.

    python examples/query_costs.py

Query the views `requests`, `llm_calls` and `stages`, not the `…_raw` tables: the views hold each request
once, whatever was delivered twice.
"""

import json
from pathlib import Path

import clickhouse_connect

BY_MODEL = """
    SELECT model, count() AS requests, countIf(cache_hit) AS cached, sum(cost_usd) AS usd,
           round(quantile(0.5)(latency_ms)) AS p50_ms, round(quantile(0.99)(latency_ms)) AS p99_ms
    FROM requests
    WHERE timestamp > now() - INTERVAL {hours:UInt32} HOUR
    GROUP BY model
    ORDER BY usd DESC
"""


def main() -> None:
    endpoints = json.loads(Path(".headrace/endpoints.json").read_text(encoding="utf-8"))
    client = clickhouse_connect.get_client(dsn=endpoints["clickhouse"], database="headrace")
    with client:
        result = client.query(BY_MODEL, parameters={"hours": 24})
        print(*result.column_names, sep="\t")
        for row in result.result_rows:
            print(*row, sep="\t")


if __name__ == "__main__":
    main()

"""Questions to ClickHouse from the command line: `headrace report` and `headrace sql`.

Begin with `report`. Both ask through `clickhouse_client`, which cannot write, and show `results`.
"""

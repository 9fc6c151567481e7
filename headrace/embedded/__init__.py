"""Kafka, Redis and ClickHouse on one machine without Docker, Java or root: servers as child processes.

Begin reading at `child`: `Child` (start, watch, stop) and its form for servers, `EmbeddedPart`; `kafka`,
`redis` and `clickhouse` are the three. `guard` ends a child whose parent is gone.
"""

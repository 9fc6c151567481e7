"""The ClickHouse HTTP interface over chDB, as one small process.

chDB is the ClickHouse engine as a library: tables, merges, views, formats and functions are the engine's.
This package adds what a server has and a library has not: HTTP, users, sessions, concurrency, streaming.
Why it is built this way, with measurements: ``docs/decisions/0003-clickhouse-over-chdb.md``.

    python -m headrace.embedded.clickhouse --data-dir data --passwords passwords.json --port 8123
"""

from headrace.embedded.clickhouse.part import EmbeddedClickHouse

__all__ = ["EmbeddedClickHouse"]

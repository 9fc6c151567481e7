"""ClickHouse's HTTP interface over chDB, the ClickHouse engine as a library, in one small process.

`EmbeddedClickHouse` runs it as a child process. Begin reading at `server.ClickHouseHttp`; why it is built
this way, with measurements: `docs/decisions/0003-clickhouse-over-chdb.md`.
"""

from headrace.embedded.clickhouse.part import EmbeddedClickHouse

__all__ = ["EmbeddedClickHouse"]

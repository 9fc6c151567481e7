"""The URL of a user who can only read, on the run's ClickHouse."""

from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect

from tests import parts

_SQL = Path(__file__).parents[2] / "deploy" / "clickhouse" / "reader.sql"


def reader_url(clickhouse_url: str, database: str) -> str:
    """Return it; on a real server the user is made by the very file that operators use."""
    host = urlsplit(clickhouse_url).netloc.rpartition("@")[2]
    if parts.source()[0] == "embedded":
        name, password = parts.CLICKHOUSE_READER
        return f"http://{name}:{password}@{host}"
    with clickhouse_connect.get_client(dsn=clickhouse_url) as client:
        for statement in _SQL.read_text("utf-8").replace("ON headrace.*", f"ON {database}.*").split(";\n"):
            if statement.strip():
                client.command(statement)
    return f"http://headrace_reader:choose-a-password@{host}"

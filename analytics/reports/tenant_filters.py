"""ClickHouse itself filters every table by tenant, whatever a query says.

The queries of the catalogue have a condition on the tenant each. This is the second line: with the setting
`additional_table_filters` a query that forgets its condition still finds no other tenant's rows.
"""

from collections.abc import Iterable
from typing import Final

#: The stored tables with a column `tenant`. A view needs no filter: it reads these.
TABLES_WITH_TENANT: Final = """
SELECT name
FROM system.tables
WHERE database = currentDatabase()
    AND endsWith(engine, 'MergeTree')
    AND name IN (SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'tenant')
ORDER BY name
"""


def tenant_filters(database: str, tables: Iterable[str], tenant: str) -> str:
    """Return the value of `additional_table_filters` that leaves only the rows of `tenant`."""
    condition = f"tenant = {_quoted(tenant)}"
    pairs = (f"{_quoted(f'{database}.{table}')}: {_quoted(condition)}" for table in tables)
    return "{" + ", ".join(pairs) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

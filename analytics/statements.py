"""What runs statements: the port that `analytics.clickhouse.ClickHouse` is the usual adapter of."""

from collections.abc import Mapping
from typing import Any, Protocol


class Statements(Protocol):
    """Runs statements; both methods raise `ClickHouseUnavailable` where there is no answer."""

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query and return its rows, each by column name."""

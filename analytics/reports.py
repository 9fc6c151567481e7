"""Named queries over the views: `queries/*.sql`, with their parameters."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from analytics.clickhouse import ClickHouse


@cache
def _sql(name: str) -> str:
    return (files("analytics") / "queries" / f"{name}.sql").read_text("utf-8")


class Reports:
    """What analysts ask, answered from the deduplicated views.

    Every method returns rows by column name, and raises `ClickHouseUnavailable` where there is no
    answer in time.

    Args:
        clickhouse: a connection to the database of the views.
    """

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def cost_summary(self, *, since: datetime, tenant: str = "") -> list[dict[str, Any]]:
        """Return requests, tokens and cost by model and prompt version; of all tenants if none is named."""
        return await self._run("cost_summary", {"since": since, "tenant": tenant})

    async def cache_stats(self, *, since: datetime, tenant: str = "") -> list[dict[str, Any]]:
        """Return requests, hits and mean latency by how the cache was consulted."""
        return await self._run("cache_stats", {"since": since, "tenant": tenant})

    async def _run(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self._clickhouse.query(_sql(name), parameters)

"""Asks ClickHouse, by the catalogue's queries, what a tenant's requests cost and when one was accepted."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from streams.errors import ClickHouseUnavailable
from streams.registry.entries import plain

Row = Mapping[str, Any]

_CONNECT_TIMEOUT_S = 2.0
_MICRO_USD = Decimal("0.000001")
_TOP_USERS = 10
_MAX_MODELS = 10_000
#: From the first to the last day that a row can have.
_ALWAYS = {"since": datetime(1970, 1, 1, tzinfo=UTC), "until": datetime(2149, 6, 6, tzinfo=UTC)}


#: Binds a query of the catalogue of `analytics`, which ingest may not import: the command line hands it in.
#: Ingest's summaries are made by the same queries as the analysts' reports, so that they cannot differ.
BindQuery = Callable[[str, Mapping[str, object]], tuple[str, Mapping[str, Any]]]


class ClickHouseSpend:
    """Asks ClickHouse. Connects at the first query; `ClickHouseUnavailable` without an answer in time."""

    def __init__(self, url: str, bind: BindQuery, *, database: str, timeout_s: float) -> None:
        self._url = url
        self._bind = bind
        self._database = database
        self._timeout_s = timeout_s
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def costs(self, tenant: str) -> dict[str, Any]:
        """Return the cost summary of a tenant."""
        totals, by_model, by_user = await asyncio.gather(
            self._ask("cost_totals", tenant),
            self._ask("cost_by_model", tenant, limit=_MAX_MODELS),
            self._ask("cost_by_user", tenant, limit=_TOP_USERS),
        )
        return cost_summary(totals[0], by_model, by_user)

    async def cache_stats(self, tenant: str) -> dict[str, Any]:
        """Return the cache statistics of a tenant."""
        return cache_summary(await self._ask("cache_kinds", tenant))

    async def accepted_at(self, tenant: str, request_id: str) -> datetime | None:
        """Return when a request that has ended was accepted; None if the tenant has none of this id."""
        rows = await self._ask("request", tenant, request_id=request_id)
        at: datetime | None = rows[-1]["accepted_at"] if rows else None  # the oldest is the first
        return at.replace(tzinfo=UTC) if at else None

    async def ping(self) -> None:
        """Check that ClickHouse answers."""
        client = await self._connected()
        if not await client.ping(_CONNECT_TIMEOUT_S):
            raise ClickHouseUnavailable("ClickHouse does not answer a ping")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ask(self, name: str, tenant: str, **given: object) -> list[Row]:
        if not tenant:  # the catalogue would take it for every tenant
            raise ValueError("a tenant's name is not empty")
        sql, parameters = self._bind(name, {**_ALWAYS, "tenant": tenant, **given})
        client = await self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await client.query(sql, parameters=dict(parameters))
        except (ClickHouseError, TimeoutError, OSError) as fault:
            raise ClickHouseUnavailable(f"ClickHouse: {name} failed: {fault!r}") from fault
        return list(result.named_results())

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is not None:
                return self._client
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._client = await create_async_client(
                        dsn=self._url,
                        database=self._database,
                        connect_timeout=_CONNECT_TIMEOUT_S,
                        send_receive_timeout=self._timeout_s,
                    )
            except (ClickHouseError, TimeoutError, OSError) as fault:
                raise ClickHouseUnavailable(f"ClickHouse cannot be reached: {fault!r}") from fault
            return self._client


def cost_summary(totals: Row, by_model: Sequence[Row], by_user: Sequence[Row]) -> dict[str, Any]:
    """Return the summary, in US dollars, from the rows of the three queries that `costs` asks."""
    requests, cost = totals["requests"], Decimal(totals["cost_usd"])
    return {
        "total_requests": requests,
        "total_input_tokens": totals["input_tokens"],
        "total_output_tokens": totals["output_tokens"],
        "total_cost_usd": plain(cost),
        "total_cost_usd_exact": f"{plain(cost):f}",
        "avg_cost_per_request": plain((cost / max(requests, 1)).quantize(_MICRO_USD)),
        "cache_hit_rate_pct": percentage(totals["cache_hits"], requests),
        # Requests that were blocked or failed have no model.
        "cost_by_model": {row["model"]: plain(row["cost_usd"]) for row in by_model if row["model"]},
        "top_users_by_cost": {row["user_id"]: plain(row["cost_usd"]) for row in by_user},
    }


def cache_summary(by_kind: Sequence[Row]) -> dict[str, Any]:
    """Return the statistics from the rows of `cache_kinds`. A request that was not looked up is no miss."""
    hits = sum(row["hits"] for row in by_kind)
    misses = sum(row["requests"] for row in by_kind if row["cache_kind"] == "miss")
    return {"hits": hits, "misses": misses, "hit_rate_pct": percentage(hits, hits + misses)}


def percentage(part: int, whole: int) -> float:
    """Return `part` of `whole` in per cent, to two places; 0 of nothing is 0."""
    return round(100 * part / whole, 2) if whole else 0.0

"""What requests cost and what the cache saved, from ClickHouse's deduplicated view `requests`."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files
from typing import Any

from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from streams.errors import ClickHouseUnavailable
from streams.reply_view import plain

_CONNECT_TIMEOUT_S = 2.0
_QUERY_NAMES = ("cost_totals", "cost_by_model", "cost_by_user", "cache_stats")
_MICRO_USD = Decimal("0.000001")


class ClickHouseSpend:
    """Asks ClickHouse. It connects at its first question, so that ClickHouse may come later than ingest.

    Args:
        url: ``http://user:password@host:port``.
        database: where the views are.
        timeout_s: what a question may take, in seconds.
    """

    def __init__(self, url: str, *, database: str, timeout_s: float) -> None:
        self._url = url
        self._database = database
        self._timeout_s = timeout_s
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        folder = files("ingest") / "queries"
        self._queries = {name: (folder / f"{name}.sql").read_text("utf-8") for name in _QUERY_NAMES}

    async def costs(self, tenant: str) -> dict[str, Any]:
        """Return the cost summary of a tenant.

        Raises:
            ClickHouseUnavailable: no answer in time.
        """
        totals, by_model, by_user = await asyncio.gather(
            *(self._ask(name, tenant) for name in ("cost_totals", "cost_by_model", "cost_by_user"))
        )
        return cost_summary(totals[0], by_model, by_user)

    async def cache_stats(self, tenant: str) -> dict[str, Any]:
        """Return the cache statistics of a tenant.

        Raises:
            ClickHouseUnavailable: no answer in time.
        """
        hits, misses = (await self._ask("cache_stats", tenant))[0]
        return {"hits": hits, "misses": misses, "hit_rate_pct": percentage(hits, hits + misses)}

    async def ping(self) -> None:
        """Ask whether ClickHouse is there.

        Raises:
            ClickHouseUnavailable: it is not.
        """
        client = await self._connected()
        if not await client.ping(_CONNECT_TIMEOUT_S):
            raise ClickHouseUnavailable("ClickHouse does not answer a ping")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ask(self, name: str, tenant: str) -> Sequence[Sequence[Any]]:
        client = await self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await client.query(self._queries[name], parameters={"tenant": tenant})
        except (ClickHouseError, TimeoutError, OSError) as fault:
            raise ClickHouseUnavailable(f"ClickHouse: {name} failed: {fault!r}") from fault
        rows: Sequence[Sequence[Any]] = result.result_rows
        return rows

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> AsyncClient:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await create_async_client(
                    dsn=self._url,
                    database=self._database,
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    send_receive_timeout=self._timeout_s,
                )
        except (ClickHouseError, TimeoutError, OSError) as fault:
            raise ClickHouseUnavailable(f"ClickHouse cannot be reached: {fault!r}") from fault


def cost_summary(
    totals: Sequence[Any], by_model: Sequence[Sequence[Any]], by_user: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """Return the summary from the rows of the three queries; amounts are US dollars."""
    requests, input_tokens, output_tokens, cost, hits = totals
    cost = Decimal(cost)
    return {
        "total_requests": requests,
        "total_input_tokens": input_tokens,
        "total_output_tokens": output_tokens,
        "total_cost_usd": plain(cost),
        "total_cost_usd_exact": f"{plain(cost):f}",
        "avg_cost_per_request": plain((cost / max(requests, 1)).quantize(_MICRO_USD)),
        "cache_hit_rate_pct": percentage(hits, requests),
        "cost_by_model": {name: plain(Decimal(amount)) for name, amount in by_model},
        "top_users_by_cost": {name: plain(Decimal(amount)) for name, amount in by_user},
    }


def percentage(part: int, whole: int) -> float:
    """Return `part` of `whole` in per cent, to two places; 0 of nothing is 0."""
    return round(100 * part / whole, 2) if whole else 0.0

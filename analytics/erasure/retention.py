"""Retention of single tenants: their rows are deleted sooner than the tables' own TTLs say.

Whole days (UTC) are deleted, a few partitions at a time, so that a daily partition is rewritten at most once
for each tenant, and most rounds have nothing to do.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import structlog

from analytics.clickhouse import ClickHouse
from analytics.rollups.definitions import ROLLUPS
from analytics.status import Clock, utc_now
from streams.errors import ClickHouseUnavailable
from streams.settings import TenantRules
from streams.times import micros

log = structlog.get_logger(__name__)

_ROUND_S = 3600.0
_AGAIN_S = 60.0  # after a fault, or while there is more to delete
_PARTITIONS_A_ROUND = 8
_TENANTS_A_STATEMENT = 100


class KeptTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose rows belong to tenants and days.

    Rows of the kind ``text`` go as soon as texts do, ``rows`` with all the rest. `column` is what a row's age
    is counted from.
    """

    name: str
    kind: Literal["text", "rows"] = "rows"
    column: str = "accepted_at"


#: Requests after what depends on them; the rollups too: they would else be computed from what is left.
KEPT_TABLES = (
    KeptTable(name="payloads_raw", kind="text"),
    KeptTable(name="stages_raw"),
    KeptTable(name="llm_calls_raw"),
    KeptTable(name="scores_raw"),
    KeptTable(name="requests_raw"),
    *(KeptTable(name=rollup.table, column="day") for rollup in ROLLUPS),
)


def days_kept(rules: TenantRules, kind: Literal["text", "rows"]) -> int | None:
    """Return for how many days a tenant's rows of this kind are kept; None: as everybody's."""
    limits = [rules.retention_days] if kind == "rows" else [rules.retention_days, rules.text_retention_days]
    given = [days for days in limits if days is not None]
    return min(given) if given else None


def first_kept(now: datetime, days: int) -> datetime:
    """Return the begin of the first day that is kept: today and the `days` days before it are."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)


@dataclass(eq=False)
class Retention:
    """Deletes the rows of tenants that are kept for a shorter time."""

    clickhouse: ClickHouse
    rules: Mapping[str, TenantRules]
    clock: Clock = utc_now

    async def run(self) -> None:
        """Delete what is due, round after round, until cancelled; where ClickHouse is away, try again."""
        while True:
            wait_s = _AGAIN_S
            with suppress(ClickHouseUnavailable):  # the sink says so already
                if await self.sweep() == 0:
                    wait_s = _ROUND_S
            await asyncio.sleep(wait_s)

    async def sweep(self) -> int:
        """Delete what is due, of each table at most a few partitions; return how many rows that were."""
        deleted = 0
        for table in KEPT_TABLES:
            for condition, parameters in self._conditions(table):
                deleted += await self._sweep(table, condition, parameters)
        return deleted

    async def _sweep(self, table: KeptTable, condition: str, parameters: Mapping[str, Any]) -> int:
        due = await self.clickhouse.query(
            f"SELECT _partition_id AS partition, count() AS n FROM {table.name} WHERE {condition} "  # noqa: S608
            f"GROUP BY partition ORDER BY partition LIMIT {_PARTITIONS_A_ROUND}",
            parameters,
        )
        for row in due:
            await self.clickhouse.execute(
                f"ALTER TABLE {table.name} DELETE IN PARTITION ID '{row['partition']}' WHERE {condition} "
                # Of this server: another replica that is away does it when it is back.
                "SETTINGS mutations_sync = 1",
                parameters,
            )
            log.info("retention.deleted", table=table.name, partition=row["partition"], rows=row["n"])
        return sum(int(row["n"]) for row in due)

    def _conditions(self, table: KeptTable) -> list[tuple[str, dict[str, Any]]]:
        """Return the conditions for rows that are due, with their parameters: a bounded number of each."""
        now = self.clock()
        due = [
            (tenant, first_kept(now, days))
            for tenant, rules in sorted(self.rules.items())
            if (days := days_kept(rules, table.kind)) is not None
        ]
        starts = range(0, len(due), _TENANTS_A_STATEMENT)
        return [_condition(table, due[begin : begin + _TENANTS_A_STATEMENT]) for begin in starts]


def _condition(table: KeptTable, due: list[tuple[str, datetime]]) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    parameters: dict[str, Any] = {}
    for number, (tenant, before) in enumerate(due):
        limit = f"fromUnixTimestamp64Micro({{before_{number}:Int64}}, 'UTC')"
        earlier = f"toDate({limit})" if table.column == "day" else limit
        parts.append(f"(tenant = {{tenant_{number}:String}} AND {table.column} < {earlier})")
        parameters[f"tenant_{number}"] = tenant
        parameters[f"before_{number}"] = micros(before)
    return " OR ".join(parts), parameters

"""Which state each day of a raw table is in, so that a rollup knows which of its days are out of date.

The obvious way, to look for rows whose `ingested_at` is later than that of the last run, loses rows: the
sink stamps a batch before it inserts it, and where ClickHouse was away to that replica the insert may come
hours later than the stamp. So time is left out of it. ClickHouse numbers the blocks that it writes, and a
merged part keeps the range of the numbers that are in it: the highest number in a partition changes with
every insert into it, and with nothing else. Mutations (a user is erased) rewrite one part after the other:
the highest number of one tells that it has begun, the lowest data version of a part that it has ended.

That is all for tables with daily partitions. Where a partition is a month, its changed number says that one
of its days has changed, and the count of the day's rows and a hash of their `ingested_at` say which. A merge
that drops replaced rows changes these figures without changing the day's content: such a day is computed
once more, and comes out the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Protocol

import msgspec

#: Versions of partitions, by table and partition id.
Partitions = Mapping[str, Mapping[str, str]]

_PARTITIONS = """
SELECT
    table,
    partition_id,
    max(max_block_number) AS block,
    min(data_version) AS mutated,
    max(toUInt64OrZero(arrayElement(splitByChar('_', name), 5))) AS mutation
FROM system.parts
WHERE active AND rows > 0
    AND database = currentDatabase()
    AND has({tables:Array(String)}, table)
    AND match(partition_id, '^([0-9]{6}|[0-9]{8})$')
GROUP BY table, partition_id
"""

_DAYS_OF_MONTH = """
SELECT
    toDate(accepted_at) AS day,
    count() AS records,
    sum(intHash64(toUnixTimestamp64Micro(ingested_at))) AS digest
FROM {table:Identifier}
WHERE toYYYYMM(accepted_at) = {month:UInt32}
GROUP BY day
"""


class Statements(Protocol):
    """What runs statements: `analytics.clickhouse.ClickHouse`."""

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query and return its rows, each by column name."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A raw table.

    Attributes:
        table: its name.
        monthly: whether a partition is a month, and not a day.
        whole_days: so many days back no row has expired yet. Days before are never computed again, because
            what is left of them would replace the figures of the whole. Below the table's TTL.
    """

    table: str
    monthly: bool
    whole_days: int


async def read_partitions(clickhouse: Statements, tables: Sequence[str]) -> Partitions:
    """Return the version of each partition of `tables` that has rows.

    Raises:
        ClickHouseUnavailable: there was no answer.
    """
    found: dict[str, dict[str, str]] = {table: {} for table in tables}
    for row in await clickhouse.query(_PARTITIONS, {"tables": list(tables)}):
        found[row["table"]][row["partition_id"]] = f"{row['block']}.{row['mutated']}.{row['mutation']}"
    return found


class DayVersions:
    """The versions of days. Of a month they are read once, for all the rollups of one run.

    Args:
        clickhouse: a connection to the database.
        partitions: the versions of the partitions of the raw tables, which were read before.
    """

    def __init__(self, clickhouse: Statements, partitions: Partitions) -> None:
        self._clickhouse = clickhouse
        self._partitions = partitions
        self._months: dict[tuple[str, str], dict[date, str]] = {}

    async def of(self, source: Source, partitions: Iterable[str]) -> dict[date, str]:
        """Return the version of each day in some of the source's partitions.

        Raises:
            ClickHouseUnavailable: there was no answer.
        """
        days: dict[date, str] = {}
        for partition in partitions:
            version = self._partitions[source.table].get(partition)
            if version is None:  # it has no rows any more
                continue
            if source.monthly:
                days |= await self._month(source.table, partition, version)
            else:
                days[first_day(partition)] = version
        return days

    async def _month(self, table: str, month: str, version: str) -> dict[date, str]:
        known = self._months.get((table, month))
        if known is None:
            _, _, mutations = version.partition(".")
            rows = await self._clickhouse.query(_DAYS_OF_MONTH, {"table": table, "month": int(month)})
            known = {row["day"]: f"{row['records']}.{row['digest']}.{mutations}" for row in rows}
            self._months[table, month] = known
        return known


def first_day(partition_id: str) -> date:
    """Return the day that a partition is, or the first day of its month."""
    year, month, day = partition_id[:4], partition_id[4:6], partition_id[6:] or "01"
    return date(int(year), int(month), int(day))


def partition_of(source: Source, day: date) -> str:
    """Return the id of the source's partition that a day is in."""
    return day.strftime("%Y%m" if source.monthly else "%Y%m%d")

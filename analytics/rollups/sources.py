"""Which state each day of a raw table is in, so that a rollup knows which of its days are out of date.

The obvious way, to look for rows whose `ingested_at` is later than that of the last run, loses rows: the
sink stamps a batch before it inserts it, and where ClickHouse was away to that replica the insert may come
hours later than the stamp. So time is left out of it. There are two looks, a cheap one and a close one.

The cheap one: a partition is as it was while its parts have the same files. That is known without reading
any row, and does not change where a mutation (a user is erased) has nothing to do: such parts are renamed,
and keep their files.

The close one, where that has changed: what was stored, how many rows there are of the day, and how often they
were changed in place since (`revision`). What was stored is the highest block number, which changes with
every insert; or, where a partition is a month, of each day a hash over its rows' `ingested_at`. A merge that
drops replaced rows changes these figures without changing the day's content: such a day is computed once
more, and comes out the same. A mutation of ours changes them for the days of the rows that it has touched,
and no others: it deletes rows, or counts up `revision` (`REVISE`). Any other mutation was written by hand,
and nothing says which rows it has changed: it makes every day of the table due, when it is seen first and
once more when it is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Self

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.schema.cluster import sync_replica_and_mutations

#: Versions of partitions, by table and partition id.
Partitions = Mapping[str, Mapping[str, str]]

#: The assignment that belongs into every `ALTER TABLE … UPDATE` of rows that rollups are made of.
REVISE = "revision = revision + 1"

_PARTITIONS = """
SELECT
    table,
    partition_id,
    max(max_block_number) AS block,
    lower(hex(sum(cityHash64(min_block_number, max_block_number, hash_of_all_files)))) AS files
FROM system.parts
WHERE active AND rows > 0
    AND database = currentDatabase()
    AND has({tables:Array(String)}, table)
    AND match(partition_id, '^([0-9]{6}|[0-9]{8})$')
GROUP BY table, partition_id
"""

_BY_HAND = f"""
SELECT table, lower(hex(sum(cityHash64(mutation_id, is_done)))) AS mutations
FROM system.mutations
WHERE database = currentDatabase()
    AND has({{tables:Array(String)}}, table)
    AND NOT match(command, '^[(]?DELETE ')
    AND position(command, '{REVISE}') = 0
GROUP BY table
"""  # noqa: S608  # a constant of our own

_DAYS = """
SELECT _partition_id AS partition, count() AS records, sum(revision) AS revisions
FROM {table:Identifier}
WHERE _partition_id IN {partitions:Array(String)}
GROUP BY partition
"""

_DAYS_OF_MONTHS = """
SELECT
    _partition_id AS partition,
    toDate(accepted_at) AS day,
    count() AS records,
    sum(revision) AS revisions,
    sum(intHash64(toUnixTimestamp64Micro(ingested_at))) AS digest
FROM {table:Identifier}
WHERE _partition_id IN {partitions:Array(String)}
GROUP BY partition, day
"""

_PARTITIONS_A_QUERY = 200  # their ids travel in the URL


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


async def read_partitions(clickhouse: ClickHouse, tables: Sequence[str]) -> Partitions:
    """Return the version of each partition of `tables` that has rows.

    On a cluster a replica may be behind. It would take what another one has computed for older than what it
    has itself, and put older figures in its place; so it catches up first.

    Raises:
        ClickHouseUnavailable: there was no answer, or the replica is still behind.
    """
    await sync_replica_and_mutations(clickhouse, tables)
    # Before the parts: a mutation that begins in between is seen the next time.
    rows = await clickhouse.query(_BY_HAND, {"tables": list(tables)})
    by_hand = {row["table"]: row["mutations"] for row in rows}
    found: dict[str, dict[str, str]] = {table: {} for table in tables}
    for row in await clickhouse.query(_PARTITIONS, {"tables": list(tables)}):
        table = row["table"]
        version = _PartitionVersion(
            block=str(row["block"]), by_hand=by_hand.get(table, ""), files=row["files"]
        )
        found[table][row["partition_id"]] = version.text
    return found


class _PartitionVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a partition without reading it.

    Attributes:
        block: the highest block number in it.
        by_hand: the mutations of the table that are not ours; empty where there are none.
        files: of all its parts.
    """

    block: str
    by_hand: str
    files: str

    @property
    def text(self) -> str:
        return f"{self.block}.{self.by_hand}.{self.files}"

    @classmethod
    def parse(cls, text: str) -> Self:
        block, by_hand, files = text.split(".")
        return cls(block=block, by_hand=by_hand, files=files)


class DayVersions:
    """The versions of days. They are read once, for all the rollups of one run."""

    def __init__(self, clickhouse: ClickHouse, partitions: Partitions) -> None:
        self._clickhouse = clickhouse
        self._partitions = partitions
        self._read: dict[tuple[str, str], dict[date, str]] = {}

    async def of(self, source: Source, partitions: Iterable[str]) -> dict[date, str]:
        """Return the version of each day in some of the source's partitions.

        Raises:
            ClickHouseUnavailable: there was no answer.
        """
        # Those that have no rows any more are left out.
        wanted = [each for each in partitions if each in self._partitions[source.table]]
        missing = [each for each in wanted if (source.table, each) not in self._read]
        for begin in range(0, len(missing), _PARTITIONS_A_QUERY):
            await self._look(source, missing[begin : begin + _PARTITIONS_A_QUERY])
        days: dict[date, str] = {}
        for partition in wanted:
            days |= self._read[source.table, partition]
        return days

    async def _look(self, source: Source, partitions: Sequence[str]) -> None:
        table = source.table
        sql = _DAYS_OF_MONTHS if source.monthly else _DAYS
        rows = await self._clickhouse.query(sql, {"table": table, "partitions": list(partitions)})
        self._read |= {(table, partition): {} for partition in partitions}
        for row in rows:
            at = row["partition"]
            known = _PartitionVersion.parse(self._partitions[table][at])
            stored = f"{row['digest']:x}" if source.monthly else known.block
            version = f"{stored}.{row['records']}.{row['revisions']}"
            if known.by_hand:
                version = f"{version}.{known.by_hand}"
            self._read[table, at][row["day"] if source.monthly else first_day(at)] = version


def first_day(partition_id: str) -> date:
    """Return the day that a partition is, or the first day of its month."""
    year, month, day = partition_id[:4], partition_id[4:6], partition_id[6:] or "01"
    return date(int(year), int(month), int(day))


def partition_of(source: Source, day: date) -> str:
    """Return the id of the source's partition that a day is in."""
    return day.strftime("%Y%m" if source.monthly else "%Y%m%d")

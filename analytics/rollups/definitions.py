"""The rollups, the raw tables that they are made of, and the version of each day of these.

A rollup holds sums and sketches per hour or day, for questions that raw rows would take seconds to answer. It
is a view `name` on a table `rollup_{name}`, and a query `queries/{name}.sql` that computes one day of it;
`analytics.rollups.refresh` computes the days whose version has changed.

Looking for rows whose `ingested_at` is later than the last run would lose rows: after an outage of the sink
the insert may come hours later. There are two checks. Cheap: a partition is unchanged while its parts have
the same files; a mutation that has nothing to do in it renames the parts, and keeps their files.

Close, where that has changed: what was stored, the number of the day's rows, and how often they were changed
in place (`revision`). What was stored is the highest block number, or, where a partition is a month, a hash
over the `ingested_at` of the day's rows. A mutation of Headrace changes these only for the days of the rows
that it touches (`REVISE`). Any other mutation was written by hand, and nothing says which rows it changed: it
makes every day of the table due, when it is first seen and again when it is done.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.resources import files

import msgspec

from analytics.clickhouse import ClickHouse, expanded
from analytics.schema.cluster import sync_replica_and_mutations

#: Versions of partitions, by table and partition id: the highest block number, a hash of the table's
#: mutations that are not Headrace's (empty: none), and a hash of the parts' files.
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

    `monthly`: a partition is a month, and not a day. Within `whole_days` no row has expired yet; days before
    are never computed again, because what is left of them would replace the figures of the whole.
    """

    table: str
    monthly: bool
    whole_days: int


async def read_partitions(clickhouse: ClickHouse, tables: Sequence[str]) -> Partitions:
    """Return the version of each partition of `tables` that has rows.

    On a cluster a replica may be behind. It would take what another one has computed for older than what it
    has itself, and put older figures in its place; so it catches up first.
    """
    await sync_replica_and_mutations(clickhouse, tables)
    # Before the parts: a mutation that begins in between is seen the next time.
    rows = await clickhouse.query(_BY_HAND, {"tables": list(tables)})
    by_hand = {row["table"]: row["mutations"] for row in rows}
    found: dict[str, dict[str, str]] = {table: {} for table in tables}
    for row in await clickhouse.query(_PARTITIONS, {"tables": list(tables)}):
        version = f"{row['block']}.{by_hand.get(row['table'], '')}.{row['files']}"
        found[row["table"]][row["partition_id"]] = version
    return found


@dataclass(eq=False)
class DayVersions:
    """The versions of days, read once for all the rollups of one run."""

    clickhouse: ClickHouse
    partitions: Partitions
    _read: dict[tuple[str, str], dict[date, str]] = field(default_factory=dict, init=False)

    async def of(self, source: Source, partitions: Iterable[str]) -> dict[date, str]:
        """Return the version of each day in some of the source's partitions."""
        # Those that have no rows any more are left out.
        wanted = [each for each in partitions if each in self.partitions[source.table]]
        missing = [each for each in wanted if (source.table, each) not in self._read]
        for begin in range(0, len(missing), _PARTITIONS_A_QUERY):
            await self._look(source, missing[begin : begin + _PARTITIONS_A_QUERY])
        days: dict[date, str] = {}
        for partition in wanted:
            days |= self._read[source.table, partition]
        return days

    async def _look(self, source: Source, partitions: Sequence[str]) -> None:
        table, sql = source.table, _DAYS_OF_MONTHS if source.monthly else _DAYS
        rows = await self.clickhouse.query(sql, {"table": table, "partitions": list(partitions)})
        self._read |= {(table, partition): {} for partition in partitions}
        for row in rows:
            at = row["partition"]
            block, by_hand, _ = self.partitions[table][at].split(".")
            stored = f"{row['digest']:x}" if source.monthly else block
            version = f"{stored}.{row['records']}.{row['revisions']}"
            if by_hand:
                version = f"{version}.{by_hand}"
            self._read[table, at][row["day"] if source.monthly else first_day(at)] = version


def first_day(partition_id: str) -> date:
    """Return the day that a partition is, or the first day of its month."""
    year, month, day = partition_id[:4], partition_id[4:6], partition_id[6:] or "01"
    return date(int(year), int(month), int(day))


def partition_of(source: Source, day: date) -> str:
    """Return the id of the source's partition that a day is in."""
    return day.strftime("%Y%m" if source.monthly else "%Y%m%d")


#: Below the TTLs of the migrations (90 days, 13 months): parts expire with their last row, some hours apart.
#: The users' rollup drops its days at an age of 390 days, when they are not computed any more.
REQUESTS = Source(table="requests_raw", monthly=True, whole_days=389)
STAGES = Source(table="stages_raw", monthly=False, whole_days=88)
CALLS = Source(table="llm_calls_raw", monthly=False, whole_days=88)
SCORES = Source(table="scores_raw", monthly=True, whole_days=389)


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """A rollup, by the name of its view."""

    name: str
    source: Source

    @property
    def table(self) -> str:
        """The table that holds it."""
        return f"rollup_{self.name}"

    @property
    def sql(self) -> str:
        """The query that computes one day; parameters `day` and `version`, columns as the table's."""
        return expanded((files("analytics.rollups") / "queries" / f"{self.name}.sql").read_text("utf-8"))


ROLLUPS = (
    Rollup(name="requests_1h", source=REQUESTS),
    Rollup(name="stages_1h", source=STAGES),
    Rollup(name="calls_1h", source=CALLS),
    Rollup(name="cost_1d", source=REQUESTS),
    Rollup(name="users_1d", source=REQUESTS),
    Rollup(name="quality_1d", source=SCORES),
    Rollup(name="latency_1h", source=REQUESTS),
    Rollup(name="stage_latency_1h", source=STAGES),
)

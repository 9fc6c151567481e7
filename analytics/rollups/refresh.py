"""Keeps the rollups up to date.

A rollup is never added to: a redelivered row would be counted twice. Each of its days is computed as a whole,
from the raw rows without duplicates (`FINAL`), into a staging table, and then swapped in
(`analytics.rollups.partition_swap`). Every row says from which version of the raw table's day it was computed
(`analytics.rollups.definitions`); a day whose version is not the current one is due.

Figures and version change in one step, so a process that dies leaves a day that is still due, and a staging
table that is dropped later. Several processes may refresh at once; only their swaps take turns, and the next
run of any process corrects what was computed from an older version. If two swaps met all the same, after one
was given up for dead, the day has rows of two computations, and is due. On a cluster a staging table is on
one replica only, and what is swapped in goes to the others.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import date, timedelta

import msgspec
import structlog

from analytics.clickhouse import ClickHouse
from analytics.rollups.definitions import (
    ROLLUPS,
    DayVersions,
    Partitions,
    Rollup,
    Source,
    first_day,
    partition_of,
    read_partitions,
)
from analytics.rollups.partition_swap import drop_day, replace_day, swap_expiry_s
from analytics.status import OUTAGE_BACKOFF, Clock, RollupStatus, utc_now
from streams.errors import ClickHouseUnavailable

log = structlog.get_logger(__name__)

#: A pause is at least so many times as long as the work before it: a fifth of the time goes into it at most.
_PAUSE_FACTOR = 4.0

#: While days are left that could be computed (a new rollup, a catch-up) it works half of the time.
_BACKLOG_PAUSE_FACTOR = 1.0

_STORED = """
SELECT
    day,
    if(uniqExact(computed_at) = 1, any(source_version), 'of several computations') AS version,
    dateDiff('millisecond', any(computed_at), now64(6, 'UTC')) / 1000 AS age_s
FROM {table:Identifier}
WHERE day BETWEEN {first:Date} AND {last:Date}
GROUP BY day
"""
_LEFT_BEHIND = """
SELECT name
FROM system.tables
WHERE database = currentDatabase()
    AND match(name, '^rollup_[0-9a-z_]+_staging_[0-9a-f]{12}$')
    AND dateDiff('second', metadata_modification_time, now()) >= {age_s:UInt32}
"""


class StoredDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day as the rollup has it: its version, and how long ago it was computed."""

    version: str
    age_s: float


class DueDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day of a rollup that is to be computed, and the version of its source."""

    rollup: Rollup
    day: date
    version: str


class RefreshProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has done and left.

    `due` is how many more days could be computed at once, `dirty_days` how many are out of date in at least
    one rollup: due, or computed too recently.
    """

    refreshed: Sequence[DueDay]
    due: int
    dirty_days: int


def outdated(
    current: Mapping[date, str], stored: Mapping[date, StoredDay], *, first: date
) -> dict[date, str]:
    """Return the days from `first` on whose stored version is not the current one, with the current one.

    A day that has no rows any more has the version ``""``.
    """
    return {
        day: current.get(day, "")
        for day in {*current, *stored}
        if day >= first and (day not in stored or stored[day].version != current.get(day, ""))
    }


def partition_states(
    source: Source, partitions: Mapping[str, str], own: Mapping[str, str], *, first: date
) -> dict[str, str]:
    """Return the state of each partition of a source from day `first` on.

    It changes with what is in the partition, and with what the rollup has of its days. As long as it is the
    same, nobody needs to look closer.
    """
    states = {at: [version] for at, version in partitions.items()}
    for day in sorted(own):
        states.setdefault(partition_of(source, first_day(day)), [""]).append(f"{day}:{own[day]}")
    oldest = partition_of(source, first)
    return {at: " ".join(parts) for at, parts in states.items() if at >= oldest}


@dataclass(eq=False)
class RollupRefresher:
    """Keeps the rollups up to date.

    A day that any process computed less than `min_age_s` ago is left for later; `statement_s` bounds the
    computation of one. A staging table of the age `staging_expiry_s` (above `statement_s`) is nobody's;
    `expiry_s` is the same for one that is being swapped in.
    """

    clickhouse: ClickHouse
    _: KW_ONLY
    min_age_s: float = 0.0
    statement_s: float = 30.0
    staging_expiry_s: float = 3600.0
    expiry_s: float | None = None
    clock: Clock = utc_now
    rollups: Sequence[Rollup] = ROLLUPS

    def __post_init__(self) -> None:
        # By rollup, the partitions of its source in which nothing was out of date, with their states then.
        self._clean: dict[str, dict[str, str]] = {rollup.table: {} for rollup in self.rollups}

    async def refresh(self, *, limit: int = 30) -> RefreshProgress:
        """Compute at most `limit` days that are due, newest first. One's fault is raised after the others."""
        tables = [*{rollup.source.table for rollup in self.rollups}, *self._clean]
        partitions = await read_partitions(self.clickhouse, tables)
        versions = DayVersions(self.clickhouse, partitions)
        due: list[DueDay] = []
        recent: set[date] = set()
        for rollup in self.rollups:
            found, waiting = await self._look(rollup, partitions, versions)
            due += found
            recent |= waiting
        due.sort(key=lambda item: item.day, reverse=True)
        now, later = due[:limit], due[limit:]
        if now:
            for row in await self.clickhouse.query(_LEFT_BEHIND, {"age_s": round(self.staging_expiry_s)}):
                await self.clickhouse.execute(f"DROP TABLE IF EXISTS {row['name']} SYNC")
        await self._compute(now)
        dirty = recent | {item.day for item in later}
        return RefreshProgress(refreshed=now, due=len(later), dirty_days=len(dirty))

    async def _look(
        self, rollup: Rollup, partitions: Partitions, versions: DayVersions
    ) -> tuple[list[DueDay], set[date]]:
        """Return the days of a rollup that are due, and those that are out of date but too recent."""
        first = self.clock().date() - timedelta(days=rollup.source.whole_days)
        source, own = partitions[rollup.source.table], partitions[rollup.table]
        states = partition_states(rollup.source, source, own, first=first)
        known = self._clean[rollup.table]
        changed = {at for at, state in states.items() if known.get(at) != state}
        old: dict[date, str] = {}
        recent: set[date] = set()
        if changed:
            current = await versions.of(rollup.source, changed)
            stored = await self._stored(rollup, changed)
            old = outdated(current, stored, first=first)
            recent = {day for day in old if day in stored and stored[day].age_s < self.min_age_s}
        dirty = {partition_of(rollup.source, day) for day in old}
        self._clean[rollup.table] = {at: state for at, state in states.items() if at not in dirty}
        return [DueDay(rollup=rollup, day=day, version=old[day]) for day in old if day not in recent], recent

    async def _stored(self, rollup: Rollup, partitions: set[str]) -> dict[date, StoredDay]:
        first, last = first_day(min(partitions)), first_day(max(partitions))
        if rollup.source.monthly:
            last += timedelta(days=31)
        rows = await self.clickhouse.query(_STORED, {"table": rollup.table, "first": first, "last": last})
        return {
            row["day"]: StoredDay(version=row["version"], age_s=row["age_s"])
            for row in rows
            if partition_of(rollup.source, row["day"]) in partitions
        }

    async def _compute(self, due: Sequence[DueDay]) -> None:
        faults: list[ClickHouseUnavailable] = []
        for item in due:
            try:
                await self._compute_day(item)
            except ClickHouseUnavailable as fault:  # one rollup's fault must not keep the others back
                log.warning("rollups.failed", rollup=item.rollup.name, day=str(item.day), error=str(fault))
                faults.append(fault)
        if faults:
            raise faults[0]

    async def _compute_day(self, due: DueDay) -> None:
        if not due.version:
            await drop_day(self.clickhouse, due.rollup.table, due.day)
            return
        await replace_day(
            self.clickhouse,
            due.rollup.table,
            due.day,
            f"{due.rollup.sql}\nSETTINGS max_execution_time = {self.statement_s:.0f}",
            {"day": due.day, "version": due.version},
            expiry_s=swap_expiry_s(self.statement_s) if self.expiry_s is None else self.expiry_s,
        )


def pause_s(*, interval_s: float, took_s: float, due: int) -> float:
    """Return how long to wait after a run, in seconds; `due` days are left."""
    if due:
        return took_s * _BACKLOG_PAUSE_FACTOR
    return max(interval_s, took_s * _PAUSE_FACTOR)


async def keep_rollups_fresh(
    refresher: RollupRefresher,
    status: RollupStatus,
    *,
    interval_s: float,
    pause: Callable[..., float] = pause_s,
) -> None:
    """Refresh again and again, until cancelled; the next process does again what was half done."""
    failures = 0
    while True:
        began = time.monotonic()
        try:
            progress = await refresher.refresh()
        except ClickHouseUnavailable as fault:
            if not failures:
                log.warning("rollups.outage", error=str(fault))
            status.last_error = str(fault)
            # The days that could be computed were. A fault that stays is retried less and less often.
            failures += 1
            await asyncio.sleep(max(OUTAGE_BACKOFF.wait_s(failures), interval_s * min(failures - 1, 4)))
        else:
            took_s = time.monotonic() - began
            failures = 0
            status.last_run_at, status.last_run_s = utc_now(), round(took_s, 3)
            status.refreshed += len(progress.refreshed)
            status.dirty_days, status.last_error = progress.dirty_days, None
            await asyncio.sleep(pause(interval_s=interval_s, took_s=took_s, due=progress.due))

"""The rollups of the data set, by the real refresh job: how long a day takes, and whether all is exact."""

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.rollups.definitions import ROLLUPS
from analytics.rollups.refresh import RollupRefresher
from bench.analytics_scale.data import sql_of

#: So many whole days before the last one are computed anew, to take the time.
_DAYS_ANEW = 3


class RollupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the rollups took and hold.

    Attributes:
        day_seconds: seconds for one whole day, by rollup.
        idle_seconds: one run that finds nothing to do, by a process that has run before.
        look_seconds: one run that finds nothing to do, by a new process.
        wrong: what does not equal the raw rows.
    """

    day_seconds: Mapping[str, float]
    idle_seconds: float
    look_seconds: float
    wrong: list[str]


async def refreshed(clickhouse: ClickHouse, *, until: datetime) -> RollupFigures:
    """Bring the rollups up to date, compute some days anew, and compare everything with the raw rows."""
    print("  rollups", flush=True)
    await RollupRefresher(clickhouse, clock=lambda: until, statement_s=300).refresh(limit=100 * len(ROLLUPS))
    refresher = RollupRefresher(clickhouse, clock=lambda: until, statement_s=300)
    began = time.perf_counter()
    await refresher.refresh()
    looked = time.perf_counter()
    await refresher.refresh()
    idle = time.perf_counter()
    day_seconds: dict[str, list[float]] = defaultdict(list)
    for ago in range(1, _DAYS_ANEW + 1):
        day = until - timedelta(days=ago)
        for rollup in ROLLUPS:
            await clickhouse.execute(f"ALTER TABLE {rollup.table} DROP PARTITION ID '{day:%Y%m%d}'")
            started = time.perf_counter()
            progress = await refresher.refresh()
            if [(due.rollup, due.day) for due in progress.refreshed] != [(rollup, day.date())]:
                raise SystemExit(f"{rollup.name}: refreshed {progress.refreshed} instead of {day:%Y-%m-%d}")
            day_seconds[rollup.name].append(time.perf_counter() - started)
    return RollupFigures(
        day_seconds={name: min(seconds) for name, seconds in day_seconds.items()},
        look_seconds=looked - began,
        idle_seconds=idle - looked,
        wrong=await _wrong(clickhouse),
    )


async def _wrong(clickhouse: ClickHouse) -> list[str]:
    rows = await clickhouse.query(sql_of("exactness"))
    return [
        f"{row['name']}: {row['raw_rows']} rows and {row['raw_sum']} in the raw table, "
        f"{row['rollup_rows']} and {row['rollup_sum']} in the rollup"
        for row in rows
        if row["raw_rows"] != row["rollup_rows"] or row["raw_sum"] != row["rollup_sum"]
    ]

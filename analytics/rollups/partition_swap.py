"""Replaces a day of a rollup in one step by rows that were computed in a staging table beside it.

Of two `REPLACE PARTITION` at once into one table ClickHouse (26.9) often keeps the rows of both (158 of 400
times that four ran at once): every figure of the day would be too high, without any error. So swaps take
turns. A turn is a table's name: the staging table is renamed to it before the swap, which fails while such a
table exists, and dropped after it. A process that dies in between leaves the table behind, and so does one
that got no answer, for the swap may still be running; the next process drops it after `expiry_s`.

On a cluster each replica has turns of its own; between replicas the order is that of their common log.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import Any
from uuid import uuid4

from analytics.clickhouse import ClickHouse, TableExists
from analytics.schema.cluster import create_staging
from streams.errors import ClickHouseUnavailable

#: A swap takes milliseconds, so nobody waits longer for its turn.
_WAIT_S = 10.0
#: From the creation of the table to its end as the day's partition.
_STATEMENTS = 5
_POLL_S = 0.02

_AGE = """
SELECT dateDiff('second', metadata_modification_time, now()) AS age_s
FROM system.tables
WHERE database = currentDatabase() AND name = {table:String}
"""


def swap_expiry_s(statement_s: float) -> float:
    """Return the age in seconds from which a table that is being swapped in belongs to a dead process.

    The age counts from the table's creation, before it is filled; `statement_s` bounds each statement of any
    process that swaps into the rollup.
    """
    return _WAIT_S + _STATEMENTS * statement_s


async def replace_day(
    clickhouse: ClickHouse,
    table: str,
    day: date,
    select: str,
    parameters: Mapping[str, Any],
    *,
    expiry_s: float,
    wait_s: float = _WAIT_S,
) -> None:
    """Put what `select` returns in the place of a day of `table`. Where that is nothing, the day is dropped.

    Others that swap into `table` are waited for, for `wait_s`; one whose table is `expiry_s` old counts as
    dead. A staging table that cannot be dropped goes later (`analytics.rollups.refresh`).
    """
    new, turn = f"{table}_staging_{uuid4().hex[:12]}", f"{table}_staging_swap"
    try:
        await create_staging(clickhouse, new, like=table)
        await clickhouse.execute(f"INSERT INTO {new}\n{select}", parameters)
        [left] = await clickhouse.query(f"SELECT count() AS n FROM {new}")  # noqa: S608  # our name
        if not left["n"]:  # the server refuses to swap nothing in
            await drop_day(clickhouse, table, day)
            return
        await _take_turn(clickhouse, new, turn, wait_s=wait_s, expiry_s=expiry_s)
        await clickhouse.execute(f"ALTER TABLE {table} REPLACE PARTITION ID '{day:%Y%m%d}' FROM {turn}")
        with suppress(ClickHouseUnavailable):
            await _drop(clickhouse, turn)
    finally:
        with suppress(ClickHouseUnavailable):
            await _drop(clickhouse, new)


async def drop_day(clickhouse: ClickHouse, table: str, day: date) -> None:
    """Delete a day of a rollup."""
    await clickhouse.execute(f"ALTER TABLE {table} DROP PARTITION ID '{day:%Y%m%d}'")


async def _take_turn(clickhouse: ClickHouse, new: str, turn: str, *, wait_s: float, expiry_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            await clickhouse.execute(f"RENAME TABLE {new} TO {turn}")
        except TableExists as fault:
            rows = await clickhouse.query(_AGE, {"table": turn})
            age_s = int(rows[0]["age_s"]) if rows else 0
            if rows and age_s >= expiry_s:
                await _drop(clickhouse, turn)
                continue
            if time.monotonic() >= deadline:
                raise ClickHouseUnavailable(
                    f"another process has the table {turn}, made {age_s} s ago. Try again when that has "
                    f"ended, or the table is {expiry_s:g} s old: then the process is taken for dead"
                ) from fault
        else:
            return
        await asyncio.sleep(_POLL_S)


async def _drop(clickhouse: ClickHouse, table: str) -> None:
    await clickhouse.execute(f"DROP TABLE IF EXISTS {table} SYNC")

"""Several swap the same day at once, and one of them dies in the middle of it."""

import asyncio
from datetime import date

import pytest

from analytics.clickhouse import ClickHouse
from analytics.rollups.partition_swap import replace_day
from streams.errors import ClickHouseUnavailable
from tests.analytics.rollups.test_refresh import Held

pytestmark = pytest.mark.integration

DAY = date(2026, 11, 20)
TABLE = "rollup_of_nothing"


@pytest.fixture
async def table(empty: ClickHouse) -> ClickHouse:
    """A connection to a database with a table of days."""
    await empty.execute(
        f"CREATE TABLE {TABLE} (day Date, who String) ENGINE = MergeTree "
        "PARTITION BY toYYYYMMDD(day) ORDER BY day"
    )
    return empty


async def swap(clickhouse: ClickHouse, who: str, *, expiry_s: float = 120.0, **wait: float) -> None:
    select = "SELECT {day:Date} AS day, {who:String} AS who"
    parameters = {"day": DAY, "who": who}
    await replace_day(clickhouse, TABLE, DAY, select, parameters, expiry_s=expiry_s, **wait)


async def who_is_there(clickhouse: ClickHouse) -> list[str]:
    return [row["who"] for row in await clickhouse.query(f"SELECT who FROM {TABLE} ORDER BY who")]


async def tables(clickhouse: ClickHouse) -> list[str]:
    rows = await clickhouse.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return [row["name"] for row in rows]


async def test_of_many_at_once_one_is_there(table: ClickHouse, clickhouse_url: str, database: str) -> None:
    """Without turns, two of five rounds left the rows of several: eight show it 59 times of 60."""
    others = [ClickHouse(clickhouse_url, database=database, timeout_s=30) for _ in range(4)]
    for number in range(8):
        await asyncio.gather(*(swap(each, f"{number}.{at}") for at, each in enumerate(others)))
        [who] = await who_is_there(table)
        assert who.startswith(f"{number}.")
    for each in others:
        await each.close()
    assert await tables(table) == [TABLE]


async def test_who_never_ends_its_swap_holds_others_up_and_is_given_up_at_last(table: ClickHouse) -> None:
    """Nobody swaps beside it until then; after it, it finds that there is nothing to swap in."""
    held = Held(table, before="REPLACE PARTITION")
    frozen = asyncio.create_task(swap(held, "frozen"))
    await held.reached.wait()
    with pytest.raises(ClickHouseUnavailable, match="another process has the table"):
        await swap(table, "impatient", wait_s=0.1)
    assert await who_is_there(table) == []
    await swap(table, "successor", expiry_s=0)
    held.go_on.set()
    with pytest.raises(Exception, match=f"{TABLE}_staging_swap"):
        await frozen
    assert await who_is_there(table) == ["successor"]
    assert await tables(table) == [TABLE]

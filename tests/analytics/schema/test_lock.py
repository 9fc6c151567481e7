"""The lock of the schema has one holder: made of inserts of which one counts, here on one server."""

import asyncio
from collections.abc import Iterator
from itertools import count
from string import Template

import pytest

from analytics.clickhouse import ClickHouse
from analytics.schema.cluster import placeholders
from analytics.schema.migrate import CREATE_LOCK_TABLE, LOCK_TABLE, SchemaLock
from streams.errors import ClickHouseUnavailable

pytestmark = pytest.mark.integration


@pytest.fixture
async def locked(empty: ClickHouse) -> ClickHouse:
    """A database with the lock's table. Tokens of inserts work on one server as they do across replicas."""
    await empty.execute(Template(CREATE_LOCK_TABLE).substitute(placeholders("")))
    return empty


async def said(clickhouse: ClickHouse) -> list[tuple[int, str]]:
    rows = await clickhouse.query(f"SELECT term, said FROM {LOCK_TABLE} ORDER BY term, at, said = 'over'")
    return [(row["term"], row["said"]) for row in rows]


async def test_a_lock_has_one_holder(locked: ClickHouse) -> None:
    """Who comes second waits, and says for whom when it has waited long enough."""
    async with SchemaLock(locked) as held:
        await held.renew()
        with pytest.raises(ClickHouseUnavailable, match=held.holder):
            await SchemaLock(locked, wait_s=0).__aenter__()
        await held.renew()
    async with SchemaLock(locked, wait_s=0):
        pass
    assert await said(locked) == [
        *((1, "taken"), (1, "alive"), (1, "alive"), (1, "over")),
        *((2, "taken"), (2, "over")),
    ]


async def test_a_dead_holders_lock_is_taken_over(locked: ClickHouse) -> None:
    """A process that was killed while it migrated does not keep others out; if it lives, it notices."""
    dead = SchemaLock(locked)
    await dead.__aenter__()
    async with SchemaLock(locked, wait_s=5, expiry_s=-1) as successor:
        with pytest.raises(ClickHouseUnavailable, match=f"lost to {successor.holder}"):
            await dead.renew()
        await dead.__aexit__(None, None, None)  # must not release what is not its own any more
        await successor.renew()


async def test_of_many_at_once_each_is_alone(locked: ClickHouse) -> None:
    """Five that want it at the same moment hold it one after the other, each in a term of its own."""
    inside: list[str] = []
    numbers: Iterator[int] = count()

    async def work() -> None:
        async with SchemaLock(locked) as lock:
            inside.append(lock.holder)
            next(numbers)
            await lock.renew()
            assert inside == [lock.holder]
            inside.remove(lock.holder)

    await asyncio.gather(*(work() for _ in range(5)))
    assert next(numbers) == 5
    taken = [term for term, what in await said(locked) if what == "taken"]
    assert taken == [1, 2, 3, 4, 5]


async def test_a_term_that_two_have_asked_for_is_given_to_one(locked: ClickHouse) -> None:
    """Whoever looks finds the same holder; the other's row is not there at all."""
    rows = [(1, "first", "taken")], [(1, "second", "taken")]
    for each in rows:
        await locked.insert(LOCK_TABLE, ("term", "holder", "said"), each, token="term:1")
    found = await locked.query(f"SELECT holder FROM {LOCK_TABLE}")
    assert found == [{"holder": "first"}]
    with pytest.raises(ClickHouseUnavailable, match="first"):
        await SchemaLock(locked, wait_s=0).__aenter__()

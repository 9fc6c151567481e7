"""The version of a day changes with its rows, and with nothing else."""

from datetime import date, timedelta

import pytest

from analytics.clickhouse import ClickHouse
from analytics.rollup_sources import DayVersions, first_day, partition_of, read_partitions
from analytics.rollups import REQUESTS, STAGES
from tests.analytics.logs import NOON
from tests.analytics.stored_logs import some_logs, store


def test_partition_ids_are_days_and_months() -> None:
    """There and back."""
    assert partition_of(STAGES, date(2026, 3, 9)) == "20260309"
    assert partition_of(REQUESTS, date(2026, 3, 9)) == "202603"
    assert first_day("20260309") == date(2026, 3, 9)
    assert first_day("202603") == date(2026, 3, 1)


async def versions(clickhouse: ClickHouse) -> dict[str, dict[date, str]]:
    sources = (REQUESTS, STAGES)
    partitions = await read_partitions(clickhouse, [source.table for source in sources])
    days = DayVersions(clickhouse, partitions)
    return {source.table: await days.of(source, partitions[source.table]) for source in sources}


@pytest.mark.integration
async def test_a_merge_without_duplicates_changes_no_version(clickhouse: ClickHouse) -> None:
    """A row more, however it is stamped, changes the versions of its day alone."""
    await store(clickhouse, some_logs(3))
    await store(clickhouse, some_logs(3, prefix="more"))
    await store(clickhouse, some_logs(3, prefix="old", at=NOON - timedelta(days=1)))
    before = await versions(clickhouse)
    for table in before:
        await clickhouse.execute(f"OPTIMIZE TABLE {table} FINAL")
    assert await versions(clickhouse) == before
    await store(clickhouse, some_logs(1, prefix="late"), stamped=NOON)
    after = await versions(clickhouse)
    for table, days in after.items():
        assert days[NOON.date()] != before[table][NOON.date()]
        assert days[NOON.date() - timedelta(days=1)] == before[table][NOON.date() - timedelta(days=1)]


@pytest.mark.integration
async def test_a_mutation_changes_the_versions_of_what_it_rewrote(clickhouse: ClickHouse) -> None:
    """A change in place too, which leaves the number of rows and their stamps alone."""
    await store(clickhouse, some_logs(3))
    before = await versions(clickhouse)
    for table in before:
        await clickhouse.execute(
            f"ALTER TABLE {table} UPDATE prompt_version = '9' WHERE 1 SETTINGS mutations_sync = 2"
        )
    after = await versions(clickhouse)
    assert all(after[table][NOON.date()] != before[table][NOON.date()] for table in before)

"""The version of a day changes with its rows, and with nothing else."""

from datetime import date, timedelta

import pytest

from analytics.clickhouse import ClickHouse
from analytics.rollups.definitions import (
    REQUESTS,
    REVISE,
    STAGES,
    DayVersions,
    first_day,
    partition_of,
    read_partitions,
)
from tests.analytics.logs import NOON
from tests.analytics.stored_logs import some_logs, store


def test_partition_ids_are_days_and_months() -> None:
    """There and back."""
    assert partition_of(STAGES, date(2026, 3, 9)) == "20260309"
    assert partition_of(REQUESTS, date(2026, 3, 9)) == "202603"
    assert first_day("20260309") == date(2026, 3, 9)
    assert first_day("202603") == date(2026, 3, 1)


SOURCES = {source.table: source for source in (REQUESTS, STAGES)}


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
@pytest.mark.parametrize("in_partition", [False, True])
@pytest.mark.parametrize("change", [f"UPDATE prompt_version = '9', {REVISE}", "DELETE"])
async def test_a_mutation_of_ours_changes_the_days_of_the_rows_that_it_touched(
    clickhouse: ClickHouse, change: str, in_partition: bool
) -> None:
    """Other days stay as they are, those of the same month too; other partitions are not even looked at."""
    days = [NOON - timedelta(days=back) for back in (0, 1, 2, 40)]
    for day in days:
        await store(clickhouse, some_logs(3, prefix=f"d{day.day}", at=day))
    for table in ("requests_raw", "stages_raw"):
        before, partitions = await versions(clickhouse), await read_partitions(clickhouse, [table])
        where = f" IN PARTITION ID '{partition_of(SOURCES[table], days[1].date())}'" if in_partition else ""
        await clickhouse.execute(
            f"ALTER TABLE {table} {change}{where} WHERE request_id = 'd{days[1].day}-0' "
            "SETTINGS mutations_sync = 2"
        )
        after = await versions(clickhouse)
        changed = {day for day, version in after[table].items() if version != before[table][day]}
        assert changed == {days[1].date()}
        looked = await read_partitions(clickhouse, [table])
        assert {at for at, state in looked[table].items() if state != partitions[table][at]} == {
            partition_of(SOURCES[table], days[1].date())
        }


@pytest.mark.integration
async def test_a_mutation_by_hand_changes_the_versions_of_the_whole_table(clickhouse: ClickHouse) -> None:
    """It counts no revisions: nobody knows which rows it has changed, so every day counts as touched."""
    await store(clickhouse, some_logs(3))
    await store(clickhouse, some_logs(3, prefix="old", at=NOON - timedelta(days=3)))
    before = await versions(clickhouse)
    for table in before:
        await clickhouse.execute(
            f"ALTER TABLE {table} UPDATE prompt_version = '9' WHERE request_id = 'r-0' "
            "SETTINGS mutations_sync = 2"
        )
    after = await versions(clickhouse)
    for table, days in after.items():
        assert all(version != before[table][day] for day, version in days.items())
    assert await versions(clickhouse) == after


@pytest.mark.integration
async def test_days_are_read_in_pieces_and_once(clickhouse: ClickHouse) -> None:
    """Whatever has no rows is left out; rollups of the same table share what was read."""
    await store(clickhouse, some_logs(3))
    partitions = await read_partitions(clickhouse, ["requests_raw"])
    days = DayVersions(clickhouse, partitions)
    wanted = [*partitions["requests_raw"], "203001"]
    found = await days.of(REQUESTS, wanted)
    assert list(found) == [NOON.date()]
    await store(clickhouse, some_logs(3, prefix="more"))
    assert await days.of(REQUESTS, wanted) == found

"""Looking at each partition alone, which the analysts' reader asks ClickHouse for, changes no figure."""

from datetime import timedelta

import pytest

from analytics.clickhouse import ClickHouse
from tests.analytics.logs import NOON, make_log
from tests.analytics.stored_logs import store

pytestmark = pytest.mark.integration

_ALONE = " SETTINGS do_not_merge_across_partitions_select_final = 1"


async def test_repeats_are_left_out_although_partitions_are_looked_at_alone(clickhouse: ClickHouse) -> None:
    """Requests around midnight and in two months, each stored three times, count once in every view."""
    midnight = NOON.replace(hour=0)
    times = [midnight - timedelta(microseconds=1), midnight, midnight - timedelta(days=40)]
    logs = [make_log(f"alone-{place}", accepted_at=at) for place, at in enumerate(times)]
    for _ in range(3):
        await store(clickhouse, logs)
    for view, each in (("requests", 1), ("stages", 5), ("llm_calls", 1)):
        counted = f"SELECT count() AS n FROM {view} WHERE startsWith(request_id, 'alone-')"
        assert await clickhouse.query(counted + _ALONE) == [{"n": each * len(logs)}]
        assert await clickhouse.query(counted) == [{"n": each * len(logs)}]


async def test_every_sort_key_says_which_partition_a_row_is_in(clickhouse: ClickHouse) -> None:
    """Only so can no row replace one of another partition: the key has the partition's time, or finer."""
    rows = await clickhouse.query(
        "SELECT name, partition_key, sorting_key FROM system.tables WHERE database = currentDatabase() "
        "AND name IN ('requests_raw', 'stages_raw', 'llm_calls_raw', 'payloads_raw', 'scores_raw')"
    )
    assert len(rows) == 5
    for row in rows:
        assert row["partition_key"] in ("toDate(accepted_at)", "toYYYYMM(accepted_at)"), row["name"]
        fixed = ("toStartOfHour(accepted_at)", "toDate(accepted_at)")
        assert any(part in row["sorting_key"] for part in fixed), row["name"]


async def test_closed_days_are_merged_into_one_part(clickhouse: ClickHouse) -> None:
    """The tables with daily partitions say so; only whole partitions, so that today is left alone."""
    for table in ("stages_raw", "llm_calls_raw"):
        [row] = await clickhouse.query(
            "SELECT engine_full FROM system.tables "
            "WHERE database = currentDatabase() AND name = {name:String}",
            {"name": table},
        )
        assert "min_age_to_force_merge_seconds = 3600" in row["engine_full"]
        assert "min_age_to_force_merge_on_partition_only = 1" in row["engine_full"]

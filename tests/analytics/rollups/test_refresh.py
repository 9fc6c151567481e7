"""Which days are computed, and what becomes of them when something goes wrong on the way."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from analytics.clickhouse import ClickHouse
from analytics.rollups.definitions import CALLS, REQUESTS, ROLLUPS, STAGES, Rollup
from analytics.rollups.refresh import RollupRefresher, StoredDay, outdated, partition_states
from streams.errors import ClickHouseUnavailable
from tests.analytics.logs import NOON, make_log, make_timing
from tests.analytics.rollup_oracle import expected, found
from tests.analytics.stored_logs import some_logs, store

DAY = date(2026, 11, 20)
COST = Rollup(name="cost_1d", source=REQUESTS)
#: Rollups of a day of requests without scores.
FILLED = len(ROLLUPS) - 1
STAGES_1H = Rollup(name="stages_1h", source=STAGES)


def stored(version: str) -> StoredDay:
    return StoredDay(version=version, age_s=1.0)


def test_a_day_is_out_of_date_when_its_version_is_another() -> None:
    """New days, changed days and days that lost all their rows; not those that are too old."""
    days = [DAY - timedelta(days=back) for back in range(5)]
    same, changed, new, emptied, old = days
    current = {same: "1.0", changed: "7.0", new: "3.0", old: "9.0"}
    have = {same: stored("1.0"), changed: stored("6.0"), emptied: stored("2.0"), old: stored("8.0")}
    assert outdated(current, have, first=emptied) == {changed: "7.0", new: "3.0", emptied: ""}


def test_a_partitions_state_changes_with_its_rows_and_with_the_rollup() -> None:
    """Another insert, a day of the rollup that somebody else computed or dropped: each is another state."""
    own = {"20261119": "4.0", "20261120": "5.0", "20261201": "6.0"}
    states = partition_states(REQUESTS, {"202611": "9.0"}, own, first=DAY)
    assert states.keys() == {"202611", "202612"}
    for other in (
        partition_states(REQUESTS, {"202611": "10.0"}, own, first=DAY),
        partition_states(REQUESTS, {"202611": "9.0"}, own | {"20261120": "7.0"}, first=DAY),
        partition_states(REQUESTS, {"202611": "9.0"}, {"20261119": "4.0"}, first=DAY),
    ):
        assert other["202611"] != states["202611"]
    assert "202611" not in partition_states(REQUESTS, {"202611": "9.0"}, {}, first=date(2026, 12, 1))
    assert partition_states(CALLS, {"20261120": "1.0"}, own, first=DAY).keys() == {"20261120", "20261201"}


# ── on the real engine ────────────────────────────────────────────────────────────────────────────


class Killed(Exception):
    """The process is gone."""


class Dying:
    """A connection of a process that dies at its n-th statement that changes something, or right after it."""

    def __init__(self, clickhouse: ClickHouse, *, at: int, after: bool) -> None:
        self._clickhouse = clickhouse
        self._left = at
        self._after = after
        self._dead = False

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        if self._dead:
            raise Killed
        self._dead = self._left == 0
        self._left -= 1
        if not self._dead or self._after:
            await self._clickhouse.execute(statement, parameters)
        if self._dead:
            raise Killed

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        if self._dead:
            raise Killed
        return await self._clickhouse.query(sql, parameters)


class Held:
    """A connection that waits before one statement."""

    def __init__(self, clickhouse: ClickHouse, *, before: str) -> None:
        self._clickhouse = clickhouse
        self._before = before
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        if self._before in statement:
            self.reached.set()
            await self.go_on.wait()
        await self._clickhouse.execute(statement, parameters)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return await self._clickhouse.query(sql, parameters)


class Failing:
    """A connection on which one rollup cannot be computed."""

    def __init__(self, clickhouse: ClickHouse, rollup: Rollup) -> None:
        self._clickhouse = clickhouse
        self._rollup = rollup

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        if statement.startswith(f"INSERT INTO {self._rollup.table}_staging"):
            raise ClickHouseUnavailable("memory limit exceeded")
        await self._clickhouse.execute(statement, parameters)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return await self._clickhouse.query(sql, parameters)


async def staging_tables(clickhouse: ClickHouse) -> list[str]:
    rows = await clickhouse.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%staging%'"
    )
    return [row["name"] for row in rows]


@pytest.mark.integration
async def test_every_query_has_the_columns_of_its_table(clickhouse: ClickHouse) -> None:
    """In the same order, because INSERT … SELECT goes by position; and the view has all but the version."""
    for rollup in ROLLUPS:
        described = await clickhouse.query(f"DESCRIBE TABLE ({rollup.sql})", {"day": DAY, "version": "1.0"})
        columns = {}
        for table in (rollup.table, rollup.name):
            columns[table] = await clickhouse.query(
                "SELECT name FROM system.columns WHERE database = currentDatabase() "
                "AND table = {table:String} ORDER BY position",
                {"table": table},
            )
        names = [row["name"] for row in columns[rollup.table]]
        assert [row["name"] for row in described] == names
        assert [row["name"] for row in columns[rollup.name]] == [
            name for name in names if name != "source_version"
        ]


@pytest.mark.integration
async def test_a_run_computes_what_changed_and_a_second_one_nothing(clickhouse: ClickHouse) -> None:
    """Only the days that got rows, the newest first; in another process too there is nothing left to do."""
    refresher = RollupRefresher(clickhouse)
    assert (await refresher.refresh()).refreshed == []
    logs = [*some_logs(5), *some_logs(3, prefix="old", at=NOON - timedelta(days=40))]
    await store(clickhouse, logs)
    progress = await refresher.refresh()
    new, old = NOON.date(), NOON.date() - timedelta(days=40)
    assert [item.day for item in progress.refreshed] == [new] * FILLED + [old] * FILLED
    assert (progress.due, progress.dirty_days) == (0, 0)
    assert await found(clickhouse) == expected(logs)
    for other in (refresher, refresher, RollupRefresher(clickhouse)):
        assert (await other.refresh()).refreshed == []
    more = some_logs(1, prefix="late", at=NOON - timedelta(days=40))
    await store(clickhouse, more)
    assert {item.day for item in (await refresher.refresh()).refreshed} == {old}
    assert await found(clickhouse) == expected([*logs, *more])
    assert await staging_tables(clickhouse) == []


@pytest.mark.integration
async def test_rows_stamped_long_before_they_arrive_are_found(clickhouse: ClickHouse) -> None:
    """A sink that waited out an outage inserts rows that look older than the last run."""
    refresher = RollupRefresher(clickhouse)
    first, second = some_logs(3), some_logs(3, prefix="waited")
    await store(clickhouse, first)
    await refresher.refresh()
    await store(clickhouse, second, stamped=datetime.now(UTC) - timedelta(hours=30))
    await refresher.refresh()
    assert await found(clickhouse) == expected([*first, *second])


@pytest.mark.integration
async def test_erased_rows_leave_the_rollups_too(clickhouse: ClickHouse) -> None:
    """Rows that are deleted or changed in place change the rollups; a day without rows is gone from them."""
    refresher = RollupRefresher(clickhouse)
    logs = some_logs(4)
    await store(clickhouse, logs)
    await refresher.refresh()
    for table in ("requests_raw", "stages_raw", "llm_calls_raw"):
        await clickhouse.execute(
            f"ALTER TABLE {table} DELETE WHERE request_id = 'r-0' SETTINGS mutations_sync = 2"
        )
    await clickhouse.execute(
        "ALTER TABLE requests_raw UPDATE user_id = 'erased' WHERE request_id = 'r-1' "
        "SETTINGS mutations_sync = 2"
    )
    await refresher.refresh()
    left = [make_log("r-1", accepted_at=logs[1].accepted_at, user_id="erased"), *logs[2:]]
    assert await found(clickhouse) == expected(left)
    for table in ("requests_raw", "stages_raw", "llm_calls_raw"):
        await clickhouse.execute(f"ALTER TABLE {table} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    await refresher.refresh()
    assert await found(clickhouse) == expected([])
    assert (await refresher.refresh()).refreshed == []


@pytest.mark.integration
async def test_expired_rows_stay_in_the_rollups(clickhouse: ClickHouse) -> None:
    """Days that begin to expire are not computed any more: what is left of them would replace the whole."""
    refresher = RollupRefresher(clickhouse, rollups=[STAGES_1H])
    logs = some_logs(3)
    await store(clickhouse, logs)
    await refresher.refresh()
    await clickhouse.execute(
        "ALTER TABLE stages_raw DELETE WHERE request_id = 'r-0' SETTINGS mutations_sync = 2"
    )
    in_89_days = NOON + timedelta(days=89)
    aged = RollupRefresher(clickhouse, rollups=[STAGES_1H], clock=lambda: in_89_days)
    assert (await aged.refresh()).dirty_days == 0
    assert (await found(clickhouse))["stages_1h"] == expected(logs)["stages_1h"]
    await refresher.refresh()
    assert (await found(clickhouse))["stages_1h"] == expected(logs[1:])["stages_1h"]


@pytest.mark.integration
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(6))
async def test_a_kill_between_any_two_steps_loses_nothing(
    clickhouse: ClickHouse, at: int, after: bool
) -> None:
    """The next process finishes the work, and drops the table that the dead one left behind."""
    first, second = some_logs(2), some_logs(2, prefix="more")
    await store(clickhouse, first)
    await RollupRefresher(clickhouse, rollups=[COST]).refresh()
    await store(clickhouse, second)
    dying = RollupRefresher(Dying(clickhouse, at=at, after=after), rollups=[COST])
    with pytest.raises(Killed):
        await dying.refresh()
    was = (await found(clickhouse))["cost_1d"]
    assert was in (expected(first)["cost_1d"], expected([*first, *second])["cost_1d"])
    last = some_logs(1, prefix="last")
    await store(clickhouse, last)
    await RollupRefresher(clickhouse, rollups=[COST], staging_expiry_s=0, expiry_s=0).refresh()
    assert (await found(clickhouse))["cost_1d"] == expected([*first, *second, *last])["cost_1d"]
    assert await staging_tables(clickhouse) == []


@pytest.mark.integration
async def test_a_late_swap_of_older_figures_is_put_right(clickhouse: ClickHouse) -> None:
    """A process that was frozen undoes the work of another: what it leaves says how old it is."""
    first, second = some_logs(2), some_logs(2, prefix="more")
    await store(clickhouse, first)
    held = Held(clickhouse, before="RENAME TABLE")
    frozen = asyncio.create_task(RollupRefresher(held, rollups=[COST]).refresh())
    await held.reached.wait()
    await store(clickhouse, second)
    other = RollupRefresher(clickhouse, rollups=[COST])
    for _ in range(2):  # it does the work, and has seen that nothing is left
        await other.refresh()
    assert (await found(clickhouse))["cost_1d"] == expected([*first, *second])["cost_1d"]
    held.go_on.set()
    await frozen
    assert (await found(clickhouse))["cost_1d"] == expected(first)["cost_1d"]
    await other.refresh()
    assert (await found(clickhouse))["cost_1d"] == expected([*first, *second])["cost_1d"]


@pytest.mark.integration
async def test_a_day_of_two_computations_is_computed_anew(clickhouse: ClickHouse) -> None:
    """So two swaps would leave it that ran at the same time: of one version, and twice what there is."""
    logs = some_logs(3)
    await store(clickhouse, logs)
    refresher = RollupRefresher(clickhouse, rollups=[COST])
    await refresher.refresh()
    await clickhouse.execute(
        "INSERT INTO rollup_cost_1d SELECT * REPLACE (computed_at + INTERVAL 1 MILLISECOND AS computed_at) "
        "FROM rollup_cost_1d"
    )
    assert len((await refresher.refresh()).refreshed) == 1
    assert (await found(clickhouse))["cost_1d"] == expected(logs)["cost_1d"]
    assert len((await refresher.refresh()).refreshed) == 0


@pytest.mark.integration
async def test_several_processes_at_once_do_no_harm(clickhouse: ClickHouse) -> None:
    """Three that refresh while rows arrive: in the end everything is exact, and nothing left behind."""
    logs = some_logs(40)
    refreshers = [RollupRefresher(clickhouse) for _ in range(3)]
    for start in range(0, 40, 10):
        await asyncio.gather(
            store(clickhouse, logs[start : start + 10]), *(process.refresh() for process in refreshers)
        )
    await refreshers[0].refresh()
    assert await found(clickhouse) == expected(logs)
    assert await staging_tables(clickhouse) == []


@pytest.mark.integration
async def test_a_day_is_not_computed_again_too_soon(clickhouse: ClickHouse) -> None:
    """It stays dirty until then, whichever process computed it last; a new day does not have to wait."""
    patient = RollupRefresher(clickhouse, min_age_s=3600)
    await store(clickhouse, some_logs(2))
    assert len((await patient.refresh()).refreshed) == FILLED
    await store(
        clickhouse, [*some_logs(1, prefix="more"), *some_logs(1, prefix="x", at=NOON - timedelta(days=3))]
    )
    progress = await patient.refresh()
    assert {item.day for item in progress.refreshed} == {NOON.date() - timedelta(days=3)}
    assert (progress.due, progress.dirty_days) == (0, 1)
    assert len((await RollupRefresher(clickhouse).refresh()).refreshed) == FILLED


@pytest.mark.integration
async def test_a_long_list_is_done_in_pieces(clickhouse: ClickHouse) -> None:
    """So that it can be told how much is left, and pauses are made."""
    await store(clickhouse, some_logs(2))
    refresher = RollupRefresher(clickhouse)
    progress = await refresher.refresh(limit=2)
    assert (len(progress.refreshed), progress.due, progress.dirty_days) == (2, FILLED - 2, 1)
    progress = await refresher.refresh(limit=FILLED)
    assert (len(progress.refreshed), progress.due, progress.dirty_days) == (FILLED - 2, 0, 0)


@pytest.mark.integration
async def test_one_rollups_fault_does_not_keep_the_others_back(clickhouse: ClickHouse) -> None:
    """They are computed, the fault is told, and the one is computed as soon as it can be."""
    logs = some_logs(3)
    await store(clickhouse, logs)
    with pytest.raises(ClickHouseUnavailable, match="memory limit"):
        await RollupRefresher(Failing(clickhouse, STAGES_1H)).refresh()
    assert await found(clickhouse) == expected(logs) | {"stages_1h": {}}
    await RollupRefresher(clickhouse).refresh()
    assert await found(clickhouse) == expected(logs)


@pytest.mark.integration
async def test_percentiles_over_many_hours_are_within_one_percent(clickhouse: ClickHouse) -> None:
    """Sketches of hours are merged into the percentiles of all of them."""
    works = [(number * 7_919) % 100_003 + 1 for number in range(2_000)]
    logs = [
        make_log(
            f"r-{place}",
            accepted_at=NOON - timedelta(hours=place % 30),
            timings=(make_timing("llm", work_us=work),),
        )
        for place, work in enumerate(works)
    ]
    await store(clickhouse, logs)
    await RollupRefresher(clickhouse).refresh()
    [row] = await clickhouse.query(
        "SELECT quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(work_us_sketch) AS percentiles FROM stages_1h"
    )
    ordered = sorted(works)
    for level, percentile in zip((0.5, 0.95, 0.99), row["percentiles"], strict=True):
        assert percentile == pytest.approx(ordered[round(level * (len(ordered) - 1))], rel=0.011)

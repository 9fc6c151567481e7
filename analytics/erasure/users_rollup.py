"""Takes a user out of the one rollup that names users.

A mutation of the raw rows makes their days due (`analytics.rollups.sources`), and sooner or later they are
computed anew. That is not waited for: each day is copied under the new name and swapped in, in one step
(`analytics.rollups.partition_swap`). The rows keep their `source_version`, so the day stays due.
"""

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import COVERED, EITHER, NAMED, parameters_of
from analytics.rollups.partition_swap import replace_partition, staging, swap_expiry_s
from analytics.schema.cluster import sync_replica
from streams.erasure import Subject
from streams.events import Erasure

USERS_ROLLUP = "rollup_users_1d"

#: A day on which the user has come back has rows under the user's own name, rightly.
_STALE = (
    "day <= toDate(fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')) AND day NOT IN "  # noqa: S608  # our names
    f"(SELECT toDate(accepted_at) FROM requests_raw WHERE {NAMED} AND NOT ({COVERED}))"
)
_RENAMED = (
    "SELECT * REPLACE (if(" + NAMED + ", {pseudonym:String}, user_id) AS user_id) "
    f"FROM {USERS_ROLLUP} WHERE day = {{day:Date}}"
)
_WITHOUT = f"SELECT * FROM {USERS_ROLLUP} WHERE day = {{day:Date}} AND NOT ({EITHER})"  # noqa: S608


class UsersRollup:
    """Finds and erases users in it. Every method raises `ClickHouseUnavailable` where there is no answer.

    `statement_s` bounds a statement, here and in whoever refreshes the rollups. `name` makes the 12
    hexadecimal digits of a staging table's name; one that is left behind is dropped with those of
    `analytics.rollups.refresh`.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        *,
        statement_s: float = 30.0,
        name: Callable[[], str] = lambda: uuid4().hex[:12],
    ) -> None:
        self._clickhouse = clickhouse
        self._expiry_s = swap_expiry_s(statement_s)
        self._name = name

    async def days(self, subject: Subject, erasure: Erasure) -> list[date]:
        """Return the days that name the user and are not to do so any more."""
        whose = EITHER if erasure.mode == "delete" else NAMED
        sql = f"SELECT DISTINCT day FROM {USERS_ROLLUP} WHERE {whose} AND {_STALE} ORDER BY day"  # noqa: S608
        await sync_replica(self._clickhouse, [USERS_ROLLUP, "requests_raw"])
        rows = await self._clickhouse.query(sql, parameters_of(subject, erasure))
        return [row["day"] for row in rows]

    async def erase(self, subject: Subject, erasure: Erasure) -> None:
        """Put the new name in the user's place, or leave the user out; others' sums stay as they are."""
        selected = _WITHOUT if erasure.mode == "delete" else _RENAMED
        for day in await self.days(subject, erasure):
            await self._replace(day, selected, parameters_of(subject, erasure))

    async def _replace(self, day: date, selected: str, parameters: dict[str, Any]) -> None:
        new = f"{USERS_ROLLUP}_staging_{self._name()}"
        async with staging(self._clickhouse, new, like=USERS_ROLLUP):
            await self._clickhouse.execute(f"INSERT INTO {new} {selected}", {**parameters, "day": day})
            [left] = await self._clickhouse.query(f"SELECT count() AS n FROM {new}")  # noqa: S608  # our name
            if left["n"]:
                await replace_partition(
                    self._clickhouse, new, table=USERS_ROLLUP, day=day, expiry_s=self._expiry_s
                )
            else:  # the server refuses to swap nothing in
                await self._clickhouse.execute(f"ALTER TABLE {USERS_ROLLUP} DROP PARTITION ID '{day:%Y%m%d}'")

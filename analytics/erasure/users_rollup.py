"""Takes a user out of the one rollup that names users.

A mutation of the raw rows makes their days due (`analytics.rollups.sources`), and sooner or later they are
computed anew. That is not waited for: each day is copied under the new name and swapped in, in one step
(`analytics.rollups.partition_swap`). The rows keep their `source_version`, so the day stays due.
"""

from datetime import date

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import COVERED, EITHER, NAMED, parameters_of
from analytics.rollups.partition_swap import replace_day, swap_expiry_s
from analytics.schema.cluster import sync_replica
from streams.erasure.erasures import Subject
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

    `statement_s` bounds a statement, here and in whoever refreshes the rollups.
    """

    def __init__(self, clickhouse: ClickHouse, *, statement_s: float = 30.0) -> None:
        self._clickhouse = clickhouse
        self._expiry_s = swap_expiry_s(statement_s)

    async def days(self, subject: Subject, erasure: Erasure) -> list[date]:
        """Return the days that name the user and are not to do so any more."""
        whose = EITHER if erasure.mode == "delete" else NAMED
        sql = f"SELECT DISTINCT day FROM {USERS_ROLLUP} WHERE {whose} AND {_STALE} ORDER BY day"  # noqa: S608
        await sync_replica(self._clickhouse, [USERS_ROLLUP, "requests_raw"])
        rows = await self._clickhouse.query(sql, parameters_of(subject, erasure))
        return [row["day"] for row in rows]

    async def erase(self, subject: Subject, erasure: Erasure) -> None:
        """Put the new name in the user's place, or leave the user out; others' sums stay as they are."""
        select = _WITHOUT if erasure.mode == "delete" else _RENAMED
        parameters = parameters_of(subject, erasure)
        for day in await self.days(subject, erasure):
            await replace_day(
                self._clickhouse,
                USERS_ROLLUP,
                day,
                select,
                {**parameters, "day": day},
                expiry_s=self._expiry_s,
            )

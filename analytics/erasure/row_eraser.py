"""Erases a user from the stored rows, by mutations, so that no copy of the old values is left.

A row that replaces another with the same sort key only hides it until they are merged, perhaps never. A
mutation rewrites the columns (or drops the rows) in every part. It leaves sort key and `ingested_at` as they
are, so a record that arrives again still replaces the same row. The rollups notice which days had rows of
the user (`analytics.rollups.definitions`), and compute those anew, sooner or later. The rollup that names
users does not wait for that: each day is copied under the new name and swapped in. Its rows keep their
`source_version`, so the day stays due.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.rollups.definitions import REVISE
from analytics.rollups.partition_swap import replace_day, swap_expiry_s
from analytics.schema.cluster import sync_all_replicas, sync_replica, unfinished_mutations
from streams.erasure import Subject
from streams.errors import ClickHouseUnavailable
from streams.events import Erasure
from streams.times import micros

_POLL_S = 0.1
_SUBJECTS_A_QUERY = 200  # parameters travel in the URL


class UserTable(msgspec.Struct, frozen=True, kw_only=True):
    """A raw table with rows of users, and what in it points to a person.

    Rows of a `text` table are deleted whatever the mode; `anonymise` are the assignments that make a row
    anonymous.
    """

    name: str
    text: bool = False
    anonymise: str = f"user_id = {{pseudonym:String}}, {REVISE}"


#: In the order of a deletion: requests last, because they say which rows of `stages_raw` are the user's. So
#: an interrupted deletion finds the rest when it is run again.
USER_TABLES = (
    UserTable(name="payloads_raw", text=True),
    UserTable(name="scores_raw", anonymise=f"user_id = {{pseudonym:String}}, comment = '', {REVISE}"),
    UserTable(name="llm_calls_raw"),
    UserTable(
        name="requests_raw",
        # As `analytics.erasure.late_rows.Anonymiser` does it.
        anonymise=(
            "user_id = {pseudonym:String}, session_id = '', "
            f"error = if(error IS NULL, NULL, toString(error_code)), {REVISE}"
        ),
    ),
)
_USER_TABLE_NAMES = [table.name for table in USER_TABLES]

#: Conditions: what an erasure covers; rows in the user's own name; those, and rows made anonymous before.
COVERED = "accepted_at <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')"
NAMED = "tenant = {tenant:String} AND user_id = {user:String}"
EITHER = "tenant = {tenant:String} AND user_id IN ({user:String}, {pseudonym:String})"
#: Which rows are the user's requests', whichever table still knows of them.
_THEIR_REQUESTS = " UNION ALL ".join(
    f"SELECT request_id FROM {name} WHERE {EITHER} AND {COVERED}"  # noqa: S608  # names of our own
    for name in _USER_TABLE_NAMES
)
_OF_REQUESTS = f"tenant = {{tenant:String}} AND request_id IN ({_THEIR_REQUESTS})"


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


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to the rows of a table that fulfil a condition, perhaps one about other tables."""

    table: str
    command: str
    condition: str
    reads_other_tables: bool = False


class RowEraser:
    """Finds and erases the rows of users.

    A mutation that takes longer than `wait_s` seconds goes on by itself; erasing again waits for the rest.
    """

    def __init__(self, clickhouse: ClickHouse, *, wait_s: float = 600.0) -> None:
        self._clickhouse = clickhouse
        self._wait_s = wait_s

    async def count(self, subject: Subject, erasure: Erasure) -> dict[str, int]:
        """Return how many rows are still to be changed, by table: all copies of a row, merged or not."""
        parameters = parameters_of(subject, erasure)
        return {
            change.table: sum((await self._partitions(change, parameters)).values())
            for change in _changes(erasure)
        }

    async def erase(self, subject: Subject, erasure: Erasure) -> None:
        """Erase every row of the user that the erasure covers. Doing it again changes nothing."""
        parameters = parameters_of(subject, erasure)
        for change in _changes(erasure):
            partitions = await self._partitions(change, parameters)
            if partitions and change.reads_other_tables:
                await sync_all_replicas(self._clickhouse, _USER_TABLE_NAMES)
            for partition in partitions:
                await self._clickhouse.execute(self._mutation(change, partition), parameters)
            await self._finished(change.table)

    def _mutation(self, change: _Change, partition: str) -> str:
        # One server goes on by itself, and reports it. Another replica may not even know of it yet.
        sync = 2 if self._clickhouse.cluster else 0
        return (
            f"ALTER TABLE {change.table} {change.command} IN PARTITION ID '{partition}' "
            # Not deterministic: a subquery. Its rows are the same on each replica, nothing is added.
            f"WHERE {change.condition} "
            f"SETTINGS mutations_sync = {sync}, allow_nondeterministic_mutations = 1"
        )

    async def any_rows(self, subjects: Collection[Subject]) -> bool:
        """Whether any row, covered or not, is stored under one of these users' own names."""
        waiting = sorted(subjects)
        await sync_replica(self._clickhouse, _USER_TABLE_NAMES)
        for begin in range(0, len(waiting), _SUBJECTS_A_QUERY):
            some = waiting[begin : begin + _SUBJECTS_A_QUERY]
            tenants, users = sorted({each.tenant for each in some}), [each.user_id for each in some]
            for table in _USER_TABLE_NAMES:
                sql = (
                    f"SELECT count() AS n FROM {table} WHERE tenant IN {{tenants:Array(String)}} "  # noqa: S608
                    "AND user_id IN {users:Array(String)}"
                )
                [row] = await self._clickhouse.query(sql, {"tenants": tenants, "users": users})
                if row["n"]:
                    return True
        return False

    async def request_ids(self, subject: Subject, erasure: Erasure) -> list[str]:
        """Return the ids of the user's requests that are covered, those made anonymous before among them."""
        sql = f"SELECT DISTINCT request_id FROM requests_raw WHERE {EITHER} AND {COVERED} ORDER BY ALL"  # noqa: S608
        rows = await self._clickhouse.query(sql, parameters_of(subject, erasure))
        return [str(row["request_id"]) for row in rows]

    async def _partitions(self, change: _Change, parameters: Mapping[str, Any]) -> dict[str, int]:
        await sync_replica(self._clickhouse, [change.table, *_USER_TABLE_NAMES])
        rows = await self._clickhouse.query(
            f"SELECT _partition_id AS partition, count() AS n FROM {change.table} WHERE {change.condition} "  # noqa: S608
            "GROUP BY partition ORDER BY partition",
            parameters,
        )
        return {str(row["partition"]): int(row["n"]) for row in rows}

    async def _finished(self, table: str) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            waiting = await unfinished_mutations(self._clickhouse, table)
            if not waiting:
                return
            reasons = [reason for reason in waiting if reason]
            if reasons or time.monotonic() >= deadline:
                why = reasons[0] if reasons else f"not done within {self._wait_s:g} s; it goes on"
                raise ClickHouseUnavailable(f"erasing rows of {table}: {why}")
            await asyncio.sleep(_POLL_S)


class UsersRollup:
    """Finds and erases users in the rollup that names them.

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


def _changes(erasure: Erasure) -> list[_Change]:
    """Return what an erasure changes, in the order in which it must be done."""
    if erasure.mode == "delete":
        condition = f"{EITHER} AND {COVERED}"
        return [
            # These rows name no user themselves.
            _Change(table="stages_raw", command="DELETE", condition=_OF_REQUESTS, reads_other_tables=True),
            *(_Change(table=name, command="DELETE", condition=condition) for name in _USER_TABLE_NAMES),
        ]
    return [
        _Change(
            table=table.name,
            command="DELETE" if table.text else f"UPDATE {table.anonymise}",
            condition=f"{NAMED} AND {COVERED}",
        )
        for table in USER_TABLES
    ]


def parameters_of(subject: Subject, erasure: Erasure) -> dict[str, Any]:
    """Return the parameters of the conditions above."""
    return {
        "tenant": subject.tenant,
        "user": subject.user_id,
        "pseudonym": erasure.pseudonym,
        "until_us": micros(erasure.until),
    }

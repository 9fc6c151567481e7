"""The lock under which one process at a time migrates the schema, on one server or on a cluster.

ClickHouse has no locks. It drops all but one of several inserts with the same deduplication token, and on a
cluster the token is a node in Keeper, so the same holds across replicas. The lock is therefore a table of
terms: a process inserts the next term under that term's token, and reads who got it. A term ends when its
holder says so, or has not renewed it for a minute; then the next term can be taken.
"""

import asyncio
import os
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.schema.cluster import sync_replica
from streams.errors import ClickHouseUnavailable

LOCK_TABLE = "schema_migrations_lock"
#: With the placeholders of migrations.
CREATE_LOCK_TABLE = f"""
CREATE TABLE IF NOT EXISTS {LOCK_TABLE} $on_cluster
(
    term UInt64,
    holder String,
    said LowCardinality(String) COMMENT 'taken, alive or over',
    at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ${{replicated}}MergeTree
ORDER BY (term, at)
SETTINGS $deduplication_window = 10000
"""
_POLL_S = 0.2
_COLUMNS = ("term", "holder", "said")
_LAST_TERM = f"""
SELECT
    term AS number,
    argMinIf(holder, at, said = 'taken') AS holder,
    countIf(said = 'over') > 0 AS is_over,
    dateDiff('second', max(at), now64(3, 'UTC')) AS age_s
FROM {LOCK_TABLE}
GROUP BY term
ORDER BY term DESC
LIMIT 1
"""  # noqa: S608  # a constant of our own


class _Term(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    holder: str
    is_over: bool
    age_s: int


_NONE_YET = _Term(number=0, holder="", is_over=True, age_s=0)


class SchemaLock:
    """The lock of one database's schema, for use with `async with`. Its table must exist.

    Another holder is waited for, for `wait_s`. A holder counts as alive for `expiry_s` after it last renewed
    the lock: above what one statement may take, and what the replicas' clocks differ.
    """

    def __init__(self, clickhouse: ClickHouse, *, wait_s: float = 300.0, expiry_s: float = 60.0) -> None:
        self._clickhouse = clickhouse
        self._wait_s = wait_s
        self._expiry_s = expiry_s
        self._term = 0
        self._renewals = 0
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    async def __aenter__(self) -> Self:
        """Take the lock; `ClickHouseUnavailable` where another process holds it too long."""
        deadline = time.monotonic() + self._wait_s
        while True:
            last = await self._last()
            if last.is_over or last.age_s > self._expiry_s:
                self._term = last.number + 1
                await self._say("taken", token=f"term:{self._term}")
                if self._holds(await self._last()):
                    return self
                continue
            if time.monotonic() >= deadline:
                raise ClickHouseUnavailable(
                    f"another process has been migrating the schema for {last.age_s} s: {last.holder}"
                )
            await asyncio.sleep(_POLL_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock. Where that fails it expires."""
        with suppress(ClickHouseUnavailable):
            if self._holds(await self._last()):
                await self._say("over", token=f"term:{self._term}:over")

    async def renew(self) -> None:
        """Show that the holder is alive; `ClickHouseUnavailable` where another process took the lock over."""
        last = await self._last()
        if not self._holds(last):
            raise ClickHouseUnavailable(f"the lock on the schema was lost to {last.holder or 'nobody'}")
        self._renewals += 1
        await self._say("alive", token=f"term:{self._term}:alive:{self._renewals}")

    def _holds(self, last: _Term) -> bool:
        return (last.number, last.holder) == (self._term, self.holder)

    async def _say(self, what: str, *, token: str) -> None:
        row = (self._term, self.holder, what)
        await self._clickhouse.insert(LOCK_TABLE, _COLUMNS, [row], token=token)

    async def _last(self) -> _Term:
        await sync_replica(self._clickhouse, [LOCK_TABLE])
        rows = await self._clickhouse.query(_LAST_TERM)
        return msgspec.convert(rows[0], _Term, strict=False) if rows else _NONE_YET

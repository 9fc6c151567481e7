"""One process at a time migrates: a lock made of what ClickHouse does atomically.

The lock is a table. `CREATE TABLE IF NOT EXISTS` lets one of several processes create it, and the
table's comment says which. Its holder renews it before each statement; a lock that was not renewed for
a minute belongs to a dead process and is taken over. The statements of migrations can be repeated, so
even two holders, after a takeover from a process that was only slow, do no harm.
"""

import asyncio
import os
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

from analytics.clickhouse import ClickHouse
from streams.errors import ClickHouseUnavailable

_TABLE = "schema_migrations_lock"
_POLL_S = 0.2
_HOLDER = """
SELECT comment, dateDiff('second', metadata_modification_time, now()) AS age_s
FROM system.tables
WHERE database = currentDatabase() AND name = {table:String}
"""


class SchemaLock:
    """The lock of one database's schema, for use with `async with`.

    Args:
        clickhouse: a connection to the database.
        wait_s: how long to wait for another process that holds it.
        expiry_s: how long a holder counts as alive after it last renewed the lock; above what one
            statement may take.
    """

    def __init__(self, clickhouse: ClickHouse, *, wait_s: float = 300.0, expiry_s: float = 60.0) -> None:
        self._clickhouse = clickhouse
        self._wait_s = wait_s
        self._expiry_s = expiry_s
        self._renewals = 0
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    async def __aenter__(self) -> Self:
        """Take the lock.

        Raises:
            ClickHouseUnavailable: the server did not answer, or another process holds the lock too long.
        """
        deadline = time.monotonic() + self._wait_s
        while True:
            await self._clickhouse.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLE} (nothing UInt8) ENGINE = Null "
                f"COMMENT '{self.holder} {self._renewals}'"
            )
            other, age_s = await self._current()
            if other == self.holder:
                return self
            if age_s > self._expiry_s:
                await self._clickhouse.execute(f"DROP TABLE IF EXISTS {_TABLE} SYNC")
                continue
            if time.monotonic() >= deadline:
                raise ClickHouseUnavailable(
                    f"another process migrates the schema since {age_s} s: {other}. If it is gone, drop "
                    f"the table {_TABLE}."
                )
            await asyncio.sleep(_POLL_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back. Where that fails it expires."""
        with suppress(ClickHouseUnavailable):
            other, _ = await self._current()
            if other == self.holder:
                await self._clickhouse.execute(f"DROP TABLE IF EXISTS {_TABLE} SYNC")

    async def renew(self) -> None:
        """Show that the holder lives.

        Raises:
            ClickHouseUnavailable: another process has taken the lock over.
        """
        other, _ = await self._current()
        if other != self.holder:
            raise ClickHouseUnavailable(f"the lock on the schema was lost to {other or 'nobody'}")
        self._renewals += 1
        await self._clickhouse.execute(
            f"ALTER TABLE {_TABLE} MODIFY COMMENT '{self.holder} {self._renewals}'"
        )

    async def _current(self) -> tuple[str, int]:
        """Return who holds the lock, and the seconds since it was renewed."""
        rows = await self._clickhouse.query(_HOLDER, {"table": _TABLE})
        if not rows:
            return "", 0
        return str(rows[0]["comment"]).rpartition(" ")[0], int(rows[0]["age_s"])

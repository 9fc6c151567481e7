"""Forward migrations of the ClickHouse schema, on one server or on a cluster, by one process at a time.

The files in `migrations/` are applied in the order of their numbers, each once; the table `schema_migrations`
records which, with a checksum. ClickHouse has no transactions around DDL, so a migration that stopped half
way is run again from its start: every statement must be repeatable (`IF NOT EXISTS`, `OR REPLACE`). A
statement ends with a semicolon at the end of a line. Placeholders: `analytics.schema.cluster.placeholders`.

ClickHouse has no locks. It drops all but one of several inserts with the same deduplication token, and on a
cluster the token is a node in Keeper, so the same holds across replicas. The lock is therefore a table of
terms: a process inserts the next term under that term's token, and reads who got it. A term ends when its
holder says so, or has not renewed it for a minute; then the next term can be taken.
"""

import asyncio
import hashlib
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template
from types import TracebackType
from typing import Self
from uuid import uuid4

import msgspec
import structlog

from analytics.clickhouse import ClickHouse
from analytics.schema.cluster import check_cluster, check_table_engine, placeholders, sync_replica
from streams.errors import ClickHouseUnavailable, ConfigurationError

log = structlog.get_logger(__name__)

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_TABLE = "schema_migrations"
_CREATE_TABLE = f"""
CREATE TABLE IF NOT EXISTS {_TABLE} $on_cluster
(
    version UInt32,
    name String,
    checksum String,
    applied_by String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ${{replicated}}ReplacingMergeTree(applied_at)
ORDER BY version
"""
_COLUMNS = ("version", "name", "checksum", "applied_by")


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One migration file."""

    version: int
    name: str
    sql: str

    @property
    def label(self) -> str:
        """The name of the file, without its ending."""
        return f"{self.version:04d}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, whatever its line ends; the same on one server and on a cluster."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    def statements(self, cluster: str = "") -> list[str]:
        """Return the statements for a cluster, or for one server where `cluster` is empty."""
        parts = re.split(r";[ \t]*(?:\n|$)", self.sql.replace("\r\n", "\n"))
        with_sql = [part for part in parts if re.search(r"^\s*(?!--)\S", part, re.MULTILINE)]
        return [_rendered(part.strip(), cluster) for part in with_sql]


class AppliedMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that the database has."""

    name: str
    checksum: str


def _rendered(statement: str, cluster: str) -> str:
    return Template(statement).substitute(placeholders(cluster))


def load_migrations(folder: Traversable | None = None) -> list[Migration]:
    """Return the migrations in `folder` (Headrace's own by default), by version; their numbers are unique."""
    source = folder if folder is not None else files("analytics.schema") / "migrations"
    found: dict[int, Migration] = {}
    for file in source.iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise ConfigurationError(f"migration {file.name} must be named NNNN_name.sql")
        version = int(match[1])
        if version in found:
            raise ConfigurationError(f"two migrations have the number {match[1]}: {file.name} is one")
        found[version] = Migration(version=version, name=match[2], sql=file.read_text("utf-8"))
    return [found[version] for version in sorted(found)]


async def create_database(server: ClickHouse, database: str) -> None:
    """Create the database if it does not exist, on each replica; `ConfigurationError` for a wrong name."""
    if _DATABASE_NAME.fullmatch(database) is None:
        raise ConfigurationError(
            f"HEADRACE_CLICKHOUSE_DATABASE is {database!r}: use letters, digits and underscores"
        )
    await check_cluster(server)
    if server.cluster and await server.query(
        "SELECT name FROM system.databases WHERE name = {database:String}", {"database": database}
    ):
        return  # `ON CLUSTER` needs every replica, and one of them may be away
    await server.execute(_rendered(f"CREATE DATABASE IF NOT EXISTS {database} $on_cluster", server.cluster))


@dataclass(eq=False)
class SchemaRunner:
    """Applies migrations to the database that its connection is for."""

    clickhouse: ClickHouse
    migrations: Sequence[Migration]

    async def apply(self) -> list[Migration]:
        """Apply what is missing and return it; raises as `missing_migrations`."""
        await self._create_if_missing(_TABLE, _CREATE_TABLE)
        if not await self._missing():
            return []
        await self._create_if_missing(LOCK_TABLE, CREATE_LOCK_TABLE)
        async with self._lock() as lock:
            missing = await self._missing()  # another process may have been quicker
            for migration in missing:
                await self._apply(migration, lock)
        return missing

    def _lock(self) -> "SchemaLock":
        return SchemaLock(self.clickhouse)

    async def _create_if_missing(self, table: str, statement: str) -> None:
        if not await check_table_engine(self.clickhouse, table):
            await self.clickhouse.execute(_rendered(statement, self.clickhouse.cluster))

    async def _missing(self) -> list[Migration]:
        await sync_replica(self.clickhouse, [_TABLE])
        rows = await self.clickhouse.query(f"SELECT version, name, checksum FROM {_TABLE} FINAL")  # noqa: S608
        applied = {
            int(row["version"]): AppliedMigration(name=row["name"], checksum=row["checksum"]) for row in rows
        }
        return missing_migrations(self.migrations, applied)

    async def _apply(self, migration: Migration, lock: "SchemaLock") -> None:
        for statement in migration.statements(self.clickhouse.cluster):
            await lock.renew()
            await self.clickhouse.execute(statement)
        row = (migration.version, migration.name, migration.checksum, lock.holder)
        token = f"{migration.label}:{migration.checksum}:{lock.holder}"
        await self.clickhouse.insert(_TABLE, _COLUMNS, [row], token=token)
        log.info("schema.applied", version=migration.version, migration=migration.name)


def missing_migrations(
    known: Sequence[Migration], applied: Mapping[int, AppliedMigration]
) -> list[Migration]:
    """Return the migrations that are to be applied.

    Migrations that only the database knows are a newer Headrace's, and left alone: both may run side by side
    during an upgrade. `ConfigurationError` where a number stands for another migration, an applied file was
    changed, or a new one was put before it.
    """
    for migration in known:
        there = applied.get(migration.version)
        if there is not None and there.name != migration.name:
            raise ConfigurationError(
                f"the database has the schema of a development version (migration {migration.version:04d} is "
                f"{there.name}, not {migration.name}), and there is no upgrade from it: set "
                "HEADRACE_CLICKHOUSE_DATABASE to a new name (docs/clickhouse.md says how to fill it again)"
            )
        if there is not None and there.checksum != migration.checksum:
            raise ConfigurationError(
                f"migration {migration.label} was changed after it was applied (checksum "
                f"{migration.checksum[:12]}, applied {there.checksum[:12]}): restore the file, and put the "
                "change into a new migration"
            )
    missing = [migration for migration in known if migration.version not in applied]
    newest = max((migration.version for migration in known if migration.version in applied), default=0)
    for migration in missing:
        if migration.version < newest:
            raise ConfigurationError(
                f"migration {migration.label} comes before {newest:04d}, which is applied already: give it "
                f"a number above {newest:04d}"
            )
    return missing


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
_LOCK_COLUMNS = ("term", "holder", "said")
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
    number: int = 0
    holder: str = ""
    is_over: bool = True
    age_s: int = 0


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
        await self._clickhouse.insert(LOCK_TABLE, _LOCK_COLUMNS, [row], token=token)

    async def _last(self) -> _Term:
        await sync_replica(self._clickhouse, [LOCK_TABLE])
        rows = await self._clickhouse.query(_LAST_TERM)
        return msgspec.convert(rows[0], _Term, strict=False) if rows else _Term()

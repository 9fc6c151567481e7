"""Forward migrations of the ClickHouse schema.

The files in `migrations/` are applied in the order of their numbers, each once; `schema_migrations`
says which, with a checksum. ClickHouse has no transactions around DDL, so a migration that stopped half
way is run again from its start: every statement must be one that can be repeated (`IF NOT EXISTS`,
`OR REPLACE`). A statement ends with a semicolon at the end of a line.

On a cluster the same files are applied, each statement rewritten by `analytics.schema.ddl`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec
import structlog

from analytics.clickhouse import ClickHouse
from analytics.schema.cluster import catch_up, check_cluster, check_tables
from analytics.schema.cluster_lock import CREATE_LOCK_TABLE, LOCK_TABLE, ClusterLock
from analytics.schema.ddl import on_cluster
from analytics.schema.lock import SchemaLock
from streams.errors import ConfigurationError

log = structlog.get_logger(__name__)

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

_TABLE = "schema_migrations"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32,
    name String,
    checksum String,
    applied_by String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version
"""
_APPLIED = "SELECT version, name, checksum FROM schema_migrations FINAL ORDER BY version"
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
        """SHA-256 of the file, whatever its line ends."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements of the file, without the comments around them."""
        parts = re.split(r";[ \t]*(?:\n|$)", self.sql.replace("\r\n", "\n"))
        return [part.strip() for part in parts if _has_sql(part)]


def _has_sql(part: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in part.splitlines())


def load_migrations(folder: Traversable | None = None) -> list[Migration]:
    """Return the migrations in `folder` (Headrace's own by default), by version.

    Raises:
        ConfigurationError: a file is not named ``NNNN_name.sql``, or two have the same number.
    """
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
    """Create the database if it does not exist: on each replica, where there is a cluster.

    Raises:
        ConfigurationError: the name is not a plain identifier, or there is no such cluster.
        ClickHouseUnavailable: the server did not answer, or one of the replicas did not.
    """
    if _DATABASE_NAME.fullmatch(database) is None:
        raise ConfigurationError(
            f"HEADRACE_CLICKHOUSE_DATABASE is {database!r}: use letters, digits and underscores"
        )
    await check_cluster(server)
    if server.cluster and await server.query(
        "SELECT name FROM system.databases WHERE name = {database:String}", {"database": database}
    ):
        return  # nothing that needs all replicas: one of them may be away
    await server.execute(on_cluster(f"CREATE DATABASE IF NOT EXISTS {database}", server.cluster))


class SchemaRunner:
    """Applies migrations to the database that its connection is for.

    Args:
        clickhouse: a connection to the database.
        migrations: all of them, by version.
    """

    def __init__(self, clickhouse: ClickHouse, migrations: Sequence[Migration]) -> None:
        self._clickhouse = clickhouse
        self._migrations = migrations

    async def apply(self) -> list[Migration]:
        """Apply what is missing and return it.

        Raises:
            ConfigurationError: an applied file was changed, or a new one was put before it.
            ClickHouseUnavailable: the server did not answer, or another process holds the lock too long.
        """
        if not await check_tables(self._clickhouse, _TABLE) or not self._clickhouse.cluster:
            await self._ddl(_CREATE_TABLE)
        if not await self._missing():
            return []
        async with await self._lock() as lock:
            missing = await self._missing()  # perhaps somebody else was quicker
            for migration in missing:
                await self._apply(migration, lock)
        return missing

    async def _lock(self) -> SchemaLock | ClusterLock:
        if not self._clickhouse.cluster:
            return SchemaLock(self._clickhouse)
        if not await check_tables(self._clickhouse, LOCK_TABLE):
            await self._ddl(CREATE_LOCK_TABLE)
        return ClusterLock(self._clickhouse)

    async def _missing(self) -> list[Migration]:
        await catch_up(self._clickhouse, [_TABLE])
        rows = await self._clickhouse.query(_APPLIED)
        applied = {int(row["version"]): str(row["checksum"]) for row in rows}
        return missing_migrations(self._migrations, applied)

    async def _apply(self, migration: Migration, lock: SchemaLock | ClusterLock) -> None:
        for statement in migration.statements:
            await lock.renew()
            await self._ddl(statement)
        row = (migration.version, migration.name, migration.checksum, lock.holder)
        token = f"{migration.label}:{migration.checksum}:{lock.holder}"
        await self._clickhouse.insert(_TABLE, _COLUMNS, [row], token=token)
        log.info("schema.applied", version=migration.version, migration=migration.name)

    async def _ddl(self, statement: str) -> None:
        """Run one statement of the schema, on a cluster on each replica. All come through here."""
        await self._clickhouse.execute(on_cluster(statement, self._clickhouse.cluster))


def missing_migrations(known: Sequence[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """Return the migrations that are to be applied.

    Migrations that only the database knows are a newer Headrace's, and left alone: it and this one may
    run side by side during an upgrade.

    Args:
        known: the migrations there are, by version.
        applied: the checksum of each version that the database has.

    Raises:
        ConfigurationError: an applied file was changed, or a new one was put before it.
    """
    for migration in known:
        checksum = applied.get(migration.version)
        if checksum is not None and checksum != migration.checksum:
            raise ConfigurationError(
                f"migration {migration.label} was changed after it was applied (checksum "
                f"{migration.checksum[:12]}, applied {checksum[:12]}): restore the file, and put the "
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

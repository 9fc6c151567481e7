"""Migrations are applied once, in order, by one process at a time."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from analytics.clickhouse import ClickHouse
from analytics.schema.migrate import (
    LOCK_TABLE,
    AppliedMigration,
    Migration,
    SchemaRunner,
    create_database,
    load_migrations,
    missing_migrations,
)
from analytics.sink.rows import TABLES
from streams.errors import ClickHouseUnavailable, ConfigurationError

ONE = Migration(version=1, name="one", sql="CREATE TABLE IF NOT EXISTS one (n UInt8) ENGINE = Null;\n")
TWO = Migration(
    version=2,
    name="two",
    sql="-- two; with a semicolon\nCREATE TABLE IF NOT EXISTS two (n UInt8) ENGINE = Null;\n\n"
    "INSERT INTO two SELECT length('a;b');\n",
)


def changed(migration: Migration) -> Migration:
    return msgspec.structs.replace(migration, sql=migration.sql + "-- changed\n")


def applied(migration: Migration) -> AppliedMigration:
    return AppliedMigration(name=migration.name, checksum=migration.checksum)


async def tables(clickhouse: ClickHouse) -> set[str]:
    found = await clickhouse.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return {row["name"] for row in found}


def test_statements_end_with_a_semicolon_at_the_end_of_a_line() -> None:
    """A semicolon inside a line belongs to the statement; a comment is no statement."""
    assert len(TWO.statements()) == 2
    assert TWO.statements()[1] == "INSERT INTO two SELECT length('a;b')"
    assert Migration(version=1, name="x", sql="SELECT 1\n-- the end\n;\n-- nothing here\n").statements() == [
        "SELECT 1\n-- the end"
    ]


def test_a_checksum_does_not_depend_on_line_ends() -> None:
    """A checkout on Windows is the same migration."""
    assert msgspec.structs.replace(TWO, sql=TWO.sql.replace("\n", "\r\n")).checksum == TWO.checksum
    assert changed(TWO).checksum != TWO.checksum


def test_migrations_are_loaded_in_order_and_by_their_names(tmp_path: Path) -> None:
    """Files that are not SQL are left alone; a wrong name or a number used twice is refused."""
    (tmp_path / "0002_b.sql").write_text("SELECT 2;")
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "README.md").write_text("not one")
    assert [migration.label for migration in load_migrations(tmp_path)] == ["0001_a", "0002_b"]
    (tmp_path / "0002_c.sql").write_text("SELECT 3;")
    with pytest.raises(ConfigurationError, match="0002"):
        load_migrations(tmp_path)
    (tmp_path / "0002_c.sql").rename(tmp_path / "3-c.sql")
    with pytest.raises(ConfigurationError, match=r"3-c\.sql must be named"):
        load_migrations(tmp_path)


def test_every_statement_of_ours_can_be_repeated() -> None:
    """ClickHouse cannot roll DDL back, so a migration that stopped half way is run again."""
    for migration in load_migrations():
        for statement in migration.statements():
            code = " ".join(line for line in statement.splitlines() if not line.startswith("--")).upper()
            repeatable = ("IF NOT EXISTS", "OR REPLACE", "IF EXISTS", "MODIFY SETTING")
            assert any(words in code for words in repeatable), migration.label


def test_a_changed_or_inserted_migration_is_refused() -> None:
    """The message names the file and what to do."""
    three = msgspec.structs.replace(TWO, version=3)
    assert missing_migrations([ONE, TWO], {}) == [ONE, TWO]
    assert missing_migrations([ONE, TWO], {1: applied(ONE)}) == [TWO]
    assert missing_migrations([ONE], {1: applied(ONE), 7: AppliedMigration(name="newer", checksum="x")}) == []
    with pytest.raises(ConfigurationError, match=r"0001 is requests, not one.*HEADRACE_CLICKHOUSE_DATABASE"):
        missing_migrations([ONE], {1: AppliedMigration(name="requests", checksum="x")})
    with pytest.raises(ConfigurationError, match=r"0001_one was changed after it was applied"):
        missing_migrations([changed(ONE), TWO], {1: applied(ONE)})
    with pytest.raises(ConfigurationError, match=r"0002_two comes before 0003"):
        missing_migrations([ONE, TWO, three], {1: applied(ONE), 3: applied(three)})


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "a;DROP", "x" * 65])
async def test_a_database_name_is_an_identifier(name: str) -> None:
    """The name becomes part of a statement; nothing else may."""
    connection = ClickHouse("http://127.0.0.1:1", database=None, timeout_s=1)
    with pytest.raises(ConfigurationError, match="HEADRACE_CLICKHOUSE_DATABASE"):
        await create_database(connection, name)
    await connection.close()


@pytest.mark.integration
async def test_the_schema_is_applied_once(empty: ClickHouse) -> None:
    """A second start changes nothing; no table is created twice, and the numbers have no gaps."""
    migrations = load_migrations()
    assert await SchemaRunner(empty, migrations).apply() == migrations
    before = await empty.query("SELECT * FROM schema_migrations ORDER BY version")
    assert await SchemaRunner(empty, migrations).apply() == []
    assert await empty.query("SELECT * FROM schema_migrations ORDER BY version") == before
    created = re.compile(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", re.MULTILINE)
    names = {name for migration in migrations for name in created.findall(migration.sql)}
    assert names > {table.name for table in TABLES}
    assert sum(len(created.findall(migration.sql)) for migration in migrations) == len(names)
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))
    assert await tables(empty) == {"schema_migrations", LOCK_TABLE, *names}


@pytest.mark.integration
async def test_raw_tables_and_views_have_the_columns_of_the_rows(clickhouse: ClickHouse) -> None:
    """What the sink fills, the table has, and the analyst sees."""
    for table in TABLES:
        for name in (table.name, table.name.removesuffix("_raw")):
            found = await clickhouse.query(
                "SELECT name FROM system.columns "
                "WHERE database = currentDatabase() AND table = {name:String}",
                {"name": name},
            )
            names = {row["name"] for row in found} - {"timestamp"}
            assert names - ({"revision"} if name == table.name else set()) == set(table.columns), name


@pytest.mark.integration
async def test_a_changed_migration_is_refused_before_anything_is_done(empty: ClickHouse) -> None:
    """Neither the changed file nor the ones after it are run."""
    await SchemaRunner(empty, [ONE]).apply()
    with pytest.raises(ConfigurationError, match="0001_one was changed"):
        await SchemaRunner(empty, [changed(ONE), TWO]).apply()
    assert await tables(empty) == {"schema_migrations", LOCK_TABLE, "one"}


@pytest.mark.integration
async def test_a_migration_that_failed_half_way_is_run_again(empty: ClickHouse) -> None:
    """It is not recorded before its last statement, and the next start completes it."""
    broken = Migration(version=1, name="x", sql=ONE.sql + "INSERT INTO nowhere SELECT 1;\n")
    with pytest.raises(ClickHouseUnavailable, match="nowhere"):
        await SchemaRunner(empty, [broken]).apply()
    assert await empty.query("SELECT * FROM schema_migrations") == []
    assert await SchemaRunner(empty, [ONE]).apply() == [ONE]


@pytest.mark.integration
async def test_of_many_processes_at_once_one_migrates(clickhouse_url: str, empty: ClickHouse) -> None:
    """All of them come out with the schema in place; each migration was applied exactly once."""
    del clickhouse_url
    applied = await asyncio.gather(*(SchemaRunner(empty, load_migrations()).apply() for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(load_migrations())]
    [row] = await empty.query("SELECT count() AS n FROM schema_migrations")
    assert row["n"] == len(load_migrations())

"""Statements for one server become statements for a cluster, and nothing else in them changes."""

import inspect
import re

import pytest

from analytics.clickhouse import ClickHouse
from analytics.schema import cluster_lock, migrate
from analytics.schema.ddl import on_cluster, on_one_server
from analytics.schema.migrate import load_migrations
from streams.errors import ConfigurationError

CREATE = """
-- ENGINE = MergeTree in a comment; PARTITION BY ")"
CREATE TABLE IF NOT EXISTS db.t
(
    engine String COMMENT 'ENGINE = MergeTree, non_replicated_deduplication_window = 1 \\'(',
    INDEX b engine TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested_at)
ORDER BY engine
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
"""


def test_one_server_gets_statements_as_they_are() -> None:
    """Whatever they are: nothing is even looked at."""
    assert on_cluster(CREATE, "") == CREATE
    assert on_cluster("anything at all", "") == "anything at all"


def test_a_table_becomes_a_replicated_one() -> None:
    """Its comments, strings and columns stay, whatever they look like."""
    found = on_cluster(CREATE, "main")
    expected = (
        CREATE.replace("EXISTS db.t", "EXISTS db.t ON CLUSTER `main`")
        .replace("ENGINE = ReplacingMergeTree(", "ENGINE = ReplicatedReplacingMergeTree(")
        .replace(
            "SETTINGS non_replicated_deduplication_window = 10000",
            "SETTINGS replicated_deduplication_window = 10000, "
            "replicated_deduplication_window_seconds = 604800",
        )
    )
    assert found == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("CREATE DATABASE IF NOT EXISTS d", "CREATE DATABASE IF NOT EXISTS d ON CLUSTER `c-1`"),
        (
            "CREATE OR REPLACE VIEW v AS SELECT 1 AS engine",
            "CREATE OR REPLACE VIEW v ON CLUSTER `c-1` AS SELECT 1 AS engine",
        ),
        ("CREATE TABLE t (a Int8) ENGINE = Null", "CREATE TABLE t ON CLUSTER `c-1` (a Int8) ENGINE = Null"),
        (
            "create table t (a Int8) engine=MergeTree order by a",
            "create table t ON CLUSTER `c-1` (a Int8) engine=ReplicatedMergeTree order by a",
        ),
        ("DROP TABLE IF EXISTS `a b` SYNC", "DROP TABLE IF EXISTS `a b` ON CLUSTER `c-1` SYNC"),
        ("ALTER TABLE t ADD COLUMN x Int8", "ALTER TABLE t ON CLUSTER `c-1` ADD COLUMN x Int8"),
        ("INSERT INTO t SELECT 1", "INSERT INTO t SELECT 1"),
    ],
)
def test_statements_are_made_on_every_replica(statement: str, expected: str) -> None:
    """All but those that only change rows, which the tables replicate themselves."""
    assert on_cluster(statement, "c-1") == expected


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("CREATE TABLE t AS other", "does not state the engine"),
        ("CREATE TABLE t (a Int8) ENGINE = Log", "engine Log are on one server"),
        ("CREATE TABLE t (a Int8) ENGINE = ReplicatedMergeTree ORDER BY a", "are on one server"),
        ("CREATE DICTIONARY d (a Int8) PRIMARY KEY a", "it is CREATE DICTIONARY"),
        ("RENAME TABLE a TO b", "it is RENAME"),
        ("TRUNCATE TABLE t", "it is TRUNCATE"),
        ("DROP TABLE t ON CLUSTER x", "names a cluster itself"),
        ("DROP TABLE", "no name"),
        ("-- nothing", "because it is"),
    ],
)
def test_what_is_not_known_to_be_right_is_refused(statement: str, why: str) -> None:
    """A table that only one replica has would be found missing much later."""
    with pytest.raises(ConfigurationError, match=why):
        on_cluster(statement, "main")


@pytest.mark.parametrize("name", ["a b", "x`; DROP TABLE t", "1st", "{cluster}"])
def test_a_clusters_name_is_a_name(name: str) -> None:
    """It becomes part of a statement; nothing else may."""
    with pytest.raises(ConfigurationError, match="HEADRACE_CLICKHOUSE_CLUSTER"):
        on_cluster("DROP TABLE t", name)


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("ReplicatedMergeTree('/p/{uuid}', '{replica}') ORDER BY a", "MergeTree() ORDER BY a"),
        (
            "ReplicatedReplacingMergeTree('/p', 'r', at) PARTITION BY day ORDER BY (a, b) TTL day + 1",
            "ReplacingMergeTree(at) PARTITION BY day ORDER BY (a, b) TTL day + 1",
        ),
        ("ReplicatedMergeTree('/it\\'s, \\\\', 'r') ORDER BY a", "MergeTree() ORDER BY a"),
    ],
)
def test_a_staging_table_is_like_the_replicated_one(engine: str, expected: str) -> None:
    """With its keys and its TTL, because parts keep what they were written with."""
    assert on_one_server(engine) == expected


@pytest.mark.parametrize("engine", ["MergeTree ORDER BY a", "ReplicatedMergeTree ORDER BY a", "Null"])
def test_a_staging_table_like_no_replicated_one_is_refused(engine: str) -> None:
    """Rather than to guess."""
    with pytest.raises(ConfigurationError, match="not known how"):
        on_one_server(engine)


def schema_statements() -> list[str]:
    """Every statement of the schema: the migrations', and those of the code that applies them."""
    own = {
        value
        for module in (migrate, cluster_lock)
        for _, value in inspect.getmembers(module)
        if isinstance(value, str) and re.match(r"\s*CREATE ", value)
    }
    assert len(own) == 2
    return [
        *own,
        "CREATE DATABASE IF NOT EXISTS headrace",
        *(statement for migration in load_migrations() for statement in migration.statements),
    ]


@pytest.mark.integration
async def test_the_engine_understands_every_statement(server: ClickHouse) -> None:
    """Rewritten, each is a statement for the cluster, with engine and settings of a replicated table."""
    tables = 0
    for statement in schema_statements():
        rows = await server.query(f"EXPLAIN AST {on_cluster(statement, 'main')}")
        assert rows
        rows = await server.query(
            "SELECT formatQuery({sql:String}) AS formatted", {"sql": on_cluster(statement, "main")}
        )
        formatted = str(rows[0]["formatted"])
        assert formatted.count("ON CLUSTER main") == 1, formatted
        assert "non_replicated" not in formatted
        if formatted.startswith("CREATE TABLE"):
            tables += 1
            assert re.search(r"^ENGINE = (Replicated\w*MergeTree|Null)", formatted, re.MULTILINE), formatted
    assert tables > len(load_migrations())

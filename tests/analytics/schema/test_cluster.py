"""What differs on a cluster: what is asked before, and what is refused."""

from collections.abc import Mapping
from typing import Any

import pytest

from analytics.clickhouse import ClickHouse
from analytics.schema.cluster import (
    check_cluster,
    check_table_engine,
    create_staging,
    sync_all_replicas,
    sync_replica_and_mutations,
    unfinished_mutations,
)
from analytics.schema.migrate import LOCK_TABLE, SchemaRunner, create_database, load_migrations
from streams.errors import ClickHouseUnavailable, ConfigurationError

REPLICATED = (
    "ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}') PARTITION BY day ORDER BY a"
)


class Replica:
    """A replica as its system tables describe it, which writes down what it is told."""

    def __init__(self, *, unfinished: str | None = None) -> None:
        self._unfinished = unfinished
        self.told: list[str] = []

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        del parameters
        self.told.append(statement)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        parameters = parameters or {}
        if "currentDatabase() AS name" in sql:
            return [{"name": "headrace"}]
        if "system.mutations" in sql:
            return [] if self._unfinished is None else [{"table": "t", "reason": self._unfinished}]
        if "engine_full" in sql:
            return [{"engine": REPLICATED.partition("(")[0], "engine_full": REPLICATED}]
        return [{"name": name} for name in parameters["tables"] if name != "local"]


async def test_a_replica_that_is_behind_is_not_believed() -> None:
    """It gets the rows that others have; and while it has rows to change yet, nothing is computed from it."""
    replica = Replica()
    await sync_replica_and_mutations(replica, ["a", "local", "b"])
    assert replica.told == ["SYSTEM SYNC REPLICA a LIGHTWEIGHT", "SYSTEM SYNC REPLICA b LIGHTWEIGHT"]
    with pytest.raises(ClickHouseUnavailable, match=r"has rows of t to change yet$"):
        await sync_replica_and_mutations(Replica(unfinished=""), ["t"])
    with pytest.raises(ClickHouseUnavailable, match="change yet: disk is full"):
        await sync_replica_and_mutations(Replica(unfinished="disk is full"), ["t"])


async def test_a_staging_table_is_on_one_replica() -> None:
    """Of the same parts, and without a path in Keeper."""
    replica = Replica()
    await create_staging(replica, "t_staging", like="t")
    assert replica.told == [
        "CREATE TABLE t_staging AS t ENGINE = MergeTree() PARTITION BY day ORDER BY a",
    ]


# ── on the real engine ────────────────────────────────────────────────────────────────────────────


@pytest.mark.integration
async def test_without_replicas_nothing_is_waited_for(clickhouse: ClickHouse) -> None:
    """The same code runs on one server, whose tables can not be told to catch up."""
    tables = ["requests_raw", "rollup_users_1d", "nowhere"]
    await sync_replica_and_mutations(clickhouse, tables)
    await sync_all_replicas(clickhouse, tables)
    assert await unfinished_mutations(clickhouse, "requests_raw") == []
    await check_cluster(clickhouse)


@pytest.mark.integration
async def test_a_staging_table_is_as_its_table(clickhouse: ClickHouse) -> None:
    """TTL and settings too; and one like nothing is refused."""
    await create_staging(clickhouse, "s", like="rollup_users_1d")
    sql = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
    [staging] = await clickhouse.query(sql, {"name": "s"})
    assert staging == (await clickhouse.query(sql, {"name": "rollup_users_1d"}))[0]
    with pytest.raises(ClickHouseUnavailable, match="no table nowhere"):
        await create_staging(clickhouse, "s2", like="nowhere")


@pytest.mark.integration
async def test_a_cluster_that_the_server_does_not_know_is_refused(clickhouse_url: str) -> None:
    """Before anything is made; the message says which ones it knows."""
    connection = ClickHouse(clickhouse_url, database=None, timeout_s=30, cluster="nowhere")
    with pytest.raises(ConfigurationError, match="HEADRACE_CLICKHOUSE_CLUSTER is 'nowhere'"):
        await create_database(connection, "never_made")
    assert await connection.query("SELECT name FROM system.databases WHERE name = 'never_made'") == []
    await connection.close()


@pytest.mark.integration
async def test_tables_of_one_server_do_not_become_a_clusters(
    clickhouse: ClickHouse, clickhouse_url: str, schema_database: str
) -> None:
    """They would stay where they are, and the other replicas have none. Nothing is changed."""
    clustered = ClickHouse(clickhouse_url, database=schema_database, timeout_s=30, cluster="main")
    with pytest.raises(ConfigurationError, match="has the tables of one server"):
        await SchemaRunner(clustered, load_migrations()).apply()
    await clustered.close()
    assert await check_table_engine(clickhouse, "schema_migrations")
    assert not await check_table_engine(clickhouse, "nowhere")


class AsIfCluster(ClickHouse):
    """One server that takes statements for a cluster, writes them down, and does what one replica would."""

    def __init__(self, url: str, *, database: str) -> None:
        super().__init__(url, database=database, timeout_s=30, cluster="main")
        self.insert_settings.pop("insert_quorum")  # its tables have no replicas
        self.told: list[str] = []

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.told.append(statement)
        alone = statement.replace(" ON CLUSTER `main`", "").replace("ENGINE = Replicated", "ENGINE = ")
        await super().execute(alone, parameters)


@pytest.mark.integration
async def test_the_schema_of_a_cluster_is_applied_under_its_lock(clickhouse_url: str, database: str) -> None:
    """Each statement is for the cluster, the checksums are the same, the lock is given back."""
    clustered = AsIfCluster(clickhouse_url, database=database)
    migrations = load_migrations()
    assert await SchemaRunner(clustered, migrations).apply() == migrations
    assert clustered.told
    assert all(statement.count("ON CLUSTER `main`") == 1 for statement in clustered.told)
    rows = await clustered.query("SELECT version, checksum FROM schema_migrations ORDER BY version")
    assert [(row["version"], row["checksum"]) for row in rows] == [
        (each.version, each.checksum) for each in migrations
    ]
    rows = await clustered.query(f"SELECT said, count() AS n FROM {LOCK_TABLE} GROUP BY said")
    statements = sum(len(each.statements()) for each in migrations)
    assert {row["said"]: row["n"] for row in rows} == {"taken": 1, "alive": statements, "over": 1}
    await clustered.close()


@pytest.mark.integration
async def test_the_engine_understands_what_replicas_are_told(server: ClickHouse) -> None:
    """Each is parsed; what it does takes a second replica."""
    for statement in (
        *(statement for each in load_migrations() for statement in each.statements("main")),
        "SYSTEM SYNC REPLICA ON CLUSTER `main` headrace.requests_raw LIGHTWEIGHT",
        "SYSTEM SYNC REPLICA requests_raw LIGHTWEIGHT",
        "SELECT latest_fail_reason AS reason FROM clusterAllReplicas(`main`, system.mutations)",
        f"CREATE TABLE s AS t ENGINE = {REPLICATED}",
    ):
        assert await server.query("SELECT formatQuery({sql:String}) AS sql", {"sql": statement})


async def test_rows_wait_for_a_majority_of_the_replicas() -> None:
    """An offset is committed after that, so that no row is lost with a replica. One server has no others."""
    one = ClickHouse("http://127.0.0.1:1", database="d", timeout_s=30)
    several = ClickHouse("http://127.0.0.1:1", database="d", timeout_s=30, cluster="main")
    fewer = ClickHouse("http://127.0.0.1:1", database="d", timeout_s=30, cluster="main", quorum="0")
    assert "insert_quorum" not in one.insert_settings
    assert several.insert_settings["insert_quorum"] == "auto"
    assert several.insert_settings["insert_quorum_timeout"] == 24_000
    assert fewer.insert_settings["insert_quorum"] == "0"
    for connection in (one, several, fewer):
        await connection.close()

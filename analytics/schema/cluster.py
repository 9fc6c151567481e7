"""What differs where the tables are on a cluster: one shard of several replicas.

A connection is to one replica. Rows that another replica has stored reach it a little later, so a reader that
must not miss them waits with `sync_replica`. Each replica carries out mutations on its own. A check that
finds a wrong setting raises `ConfigurationError`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from analytics.clickhouse import ClickHouse
from streams.errors import ClickHouseUnavailable, ConfigurationError

#: How long tokens of inserts are remembered. ClickHouse's default, one hour, is shorter than outages may be.
_DEDUPLICATION_S: Final = 7 * 86_400
_CLUSTER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
#: A replicated engine: the path in Keeper and the replica's name come before the engine's own arguments.
_REPLICATED_ENGINE: Final = re.compile(
    r"Replicated(\w*MergeTree)\('(?:[^'\\]|\\.)*', '(?:[^'\\]|\\.)*'(?:, )?"
)

_CLUSTERS = "SELECT cluster, uniqExact(shard_num) AS n FROM system.clusters GROUP BY cluster ORDER BY ALL"
_REPLICATED = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND has({tables:Array(String)}, name) AND startsWith(engine, 'Replicated')
ORDER BY name
"""
_UNFINISHED = """
SELECT table, latest_fail_reason AS reason FROM {mutations}
WHERE database = {{database:String}} AND has({{tables:Array(String)}}, table) AND NOT is_done
"""
_ENGINE = """
SELECT engine, engine_full FROM system.tables
WHERE database = currentDatabase() AND name = {table:String}
"""


def placeholders(cluster: str) -> dict[str, str]:
    """Return the values of the placeholders in migrations; `cluster` is empty for one server.

    Example: ``CREATE TABLE t $on_cluster (…) ENGINE = ${replicated}MergeTree``.
    """
    if not cluster:
        window = "non_replicated_deduplication_window"
        return {"on_cluster": "", "replicated": "", "deduplication_window": window}
    return {
        "on_cluster": f"ON CLUSTER {quoted_cluster(cluster)}",
        "replicated": "Replicated",
        "deduplication_window": f"replicated_deduplication_window_seconds = {_DEDUPLICATION_S}, "
        "replicated_deduplication_window",
    }


def quoted_cluster(cluster: str) -> str:
    """Return a cluster's name as it is written in statements."""
    if _CLUSTER_NAME.fullmatch(cluster) is None:
        raise ConfigurationError(
            f"HEADRACE_CLICKHOUSE_CLUSTER is {cluster!r}: it is a name of letters, digits, _ . and -"
        )
    return f"`{cluster}`"


async def check_cluster(server: ClickHouse) -> None:
    """Check that the server knows the connection's cluster, and that the cluster is one shard."""
    if not server.cluster:
        return
    rows = await server.query(_CLUSTERS)
    shards = {str(row["cluster"]): int(row["n"]) for row in rows}
    if server.cluster not in shards:
        known = ", ".join(shards) or "none"
        raise ConfigurationError(
            f"HEADRACE_CLICKHOUSE_CLUSTER is {server.cluster!r}, and the server knows no such cluster "
            f"(it knows: {known})"
        )
    if shards[server.cluster] != 1:
        raise ConfigurationError(
            f"cluster {server.cluster} has {shards[server.cluster]} shards. Headrace's tables are on one "
            "shard, with any number of replicas: name a cluster of one shard (docs/clickhouse.md)"
        )


async def check_table_engine(clickhouse: ClickHouse, table: str) -> bool:
    """Return whether `table` exists; check that it is replicated exactly where a cluster is configured."""
    rows = await clickhouse.query(_ENGINE, {"table": table})
    if not rows:
        return False
    replicated = str(rows[0]["engine"]).startswith("Replicated")
    if clickhouse.cluster and not replicated:
        raise ConfigurationError(
            "HEADRACE_CLICKHOUSE_CLUSTER is set, but the database has the tables of one server: set "
            "HEADRACE_CLICKHOUSE_DATABASE to a new one, and move the rows (docs/clickhouse.md)"
        )
    if replicated and not clickhouse.cluster:
        raise ConfigurationError(
            "the database has the tables of a cluster: set HEADRACE_CLICKHOUSE_CLUSTER to its name"
        )
    return True


async def sync_replica(clickhouse: ClickHouse, tables: Sequence[str]) -> None:
    """Wait until this replica has every row that any replica had. No-op for unreplicated tables."""
    for row in await clickhouse.query(_REPLICATED, {"tables": list(tables)}):
        await clickhouse.execute(f"SYSTEM SYNC REPLICA {row['name']} LIGHTWEIGHT")


async def sync_replica_and_mutations(clickhouse: ClickHouse, tables: Sequence[str]) -> None:
    """Wait as `sync_replica`, and check that this replica has carried out every mutation of the tables."""
    replicated = [row["name"] for row in await clickhouse.query(_REPLICATED, {"tables": list(tables)})]
    if not replicated:
        return
    await sync_replica(clickhouse, replicated)
    for row in await _unfinished(clickhouse, replicated, "system.mutations"):
        why = f": {row['reason']}" if row["reason"] else ""
        raise ClickHouseUnavailable(f"this replica has rows of {row['table']} to change yet{why}")


async def sync_all_replicas(clickhouse: ClickHouse, tables: Sequence[str]) -> None:
    """Wait until every replica has every row that any replica had. No-op without a cluster."""
    if clickhouse.cluster:
        database = await _database(clickhouse)
        for table in tables:
            await clickhouse.execute(
                f"SYSTEM SYNC REPLICA ON CLUSTER {quoted_cluster(clickhouse.cluster)} "
                f"{database}.{table} LIGHTWEIGHT"
            )


async def unfinished_mutations(clickhouse: ClickHouse, table: str) -> list[str]:
    """Return the last error (or an empty text) of each unfinished mutation of a table, on any replica."""
    mutations = "system.mutations"
    if clickhouse.cluster:
        mutations = f"clusterAllReplicas({quoted_cluster(clickhouse.cluster)}, system.mutations)"
    return [str(row["reason"]) for row in await _unfinished(clickhouse, [table], mutations)]


async def _unfinished(
    clickhouse: ClickHouse, tables: Sequence[str], mutations: str
) -> Sequence[Mapping[str, Any]]:
    # By name: on another replica the connection's own database is another.
    parameters = {"database": await _database(clickhouse), "tables": list(tables)}
    return await clickhouse.query(_UNFINISHED.format(mutations=mutations), parameters)


async def _database(clickhouse: ClickHouse) -> str:
    [row] = await clickhouse.query("SELECT currentDatabase() AS name")
    return str(row["name"])


async def create_staging(clickhouse: ClickHouse, staging: str, like: str) -> None:
    """Create a table for rows that `REPLACE PARTITION` will move into `like`.

    It is on the connection's server only, even where `like` is replicated; the moved partition is replicated.
    So every statement about the staging table must go to the same server.
    """
    rows = await clickhouse.query(_ENGINE, {"table": like})
    if not rows:
        raise ClickHouseUnavailable(f"there is no table {like}")
    engine = str(rows[0]["engine_full"])
    own = ""
    if engine.startswith("Replicated"):
        local, count = _REPLICATED_ENGINE.subn(r"\1(", engine, count=1)
        if not count:
            raise ConfigurationError(f"cannot derive a table of one server from the engine {engine[:200]}")
        own = f" ENGINE = {local}"
    await clickhouse.execute(f"CREATE TABLE {staging} AS {like}{own}")

"""What differs where the tables are on a cluster: one shard of several replicas.

A connection is to one replica. Rows that another one has stored come to it a little later; what must not miss
them asks it to catch up first. Mutations are carried out by each replica on its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from analytics.clickhouse import ClickHouse
from analytics.schema.ddl import cluster_name, on_one_server
from analytics.statements import Statements
from streams.errors import ClickHouseUnavailable, ConfigurationError

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


async def check_cluster(server: ClickHouse) -> None:
    """Make sure that the server knows the connection's cluster, and that it is one shard.

    Raises:
        ConfigurationError: there is no such cluster, or it has several shards.
        ClickHouseUnavailable: the server did not answer.
    """
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


async def check_tables(clickhouse: ClickHouse, table: str) -> bool:
    """Return whether `table` is there, and make sure that it is as the settings say.

    Raises:
        ConfigurationError: it is on one server and a cluster is set, or the other way round.
        ClickHouseUnavailable: the server did not answer.
    """
    rows = await clickhouse.query(_ENGINE, {"table": table})
    if not rows:
        return False
    engine = str(rows[0]["engine"])
    if clickhouse.cluster and not engine.startswith("Replicated"):
        raise ConfigurationError(
            "HEADRACE_CLICKHOUSE_CLUSTER is set, but the database has the tables of one server: set "
            "HEADRACE_CLICKHOUSE_DATABASE to a new one, and move the rows (docs/clickhouse.md)"
        )
    if not clickhouse.cluster and engine.startswith("Replicated"):
        raise ConfigurationError(
            "the database has the tables of a cluster: set HEADRACE_CLICKHOUSE_CLUSTER to its name"
        )
    return True


async def catch_up(clickhouse: Statements, tables: Sequence[str]) -> None:
    """Wait until this replica has the rows that any had when it was asked. Without replicas: do nothing.

    Raises:
        ClickHouseUnavailable: it does not get them in time.
    """
    for row in await clickhouse.query(_REPLICATED, {"tables": list(tables)}):
        await clickhouse.execute(f"SYSTEM SYNC REPLICA {row['name']} LIGHTWEIGHT")


async def catch_up_wholly(clickhouse: Statements, tables: Sequence[str]) -> None:
    """Wait as `catch_up`, and make sure that no mutation of the tables is left to be done here.

    Raises:
        ClickHouseUnavailable: it does not get the rows in time, or a mutation is under way.
    """
    replicated = [row["name"] for row in await clickhouse.query(_REPLICATED, {"tables": list(tables)})]
    if not replicated:
        return
    await catch_up(clickhouse, replicated)
    for row in await _unfinished(clickhouse, replicated, "system.mutations"):
        why = f": {row['reason']}" if row["reason"] else ""
        raise ClickHouseUnavailable(f"this replica has rows of {row['table']} to change yet{why}")


async def all_caught_up(clickhouse: ClickHouse, tables: Sequence[str]) -> None:
    """Wait until every replica has the rows that any had. Without a cluster: do nothing.

    Raises:
        ClickHouseUnavailable: a replica does not get them in time, or does not answer.
    """
    if clickhouse.cluster:
        database = await _database(clickhouse)
        for table in tables:
            await clickhouse.execute(sync_everywhere(clickhouse.cluster, database, table))


def sync_everywhere(cluster: str, database: str, table: str) -> str:
    """Return the statement that lets every replica of a table catch up."""
    return f"SYSTEM SYNC REPLICA ON CLUSTER {cluster_name(cluster)} {database}.{table} LIGHTWEIGHT"


async def unfinished_mutations(clickhouse: ClickHouse, table: str) -> list[str]:
    """Return what was wrong with each mutation of a table that is not done yet, on any replica.

    Raises:
        ClickHouseUnavailable: the server did not answer, or another replica did not.
    """
    mutations = "system.mutations"
    if clickhouse.cluster:
        mutations = f"clusterAllReplicas({cluster_name(clickhouse.cluster)}, system.mutations)"
    return [str(row["reason"]) for row in await _unfinished(clickhouse, [table], mutations)]


async def _unfinished(
    clickhouse: Statements, tables: Sequence[str], mutations: str
) -> Sequence[Mapping[str, Any]]:
    # By name: on another replica the connection's own database is another.
    parameters = {"database": await _database(clickhouse), "tables": list(tables)}
    return await clickhouse.query(_UNFINISHED.format(mutations=mutations), parameters)


async def _database(clickhouse: Statements) -> str:
    [row] = await clickhouse.query("SELECT currentDatabase() AS name")
    return str(row["name"])


async def create_staging(clickhouse: Statements, staging: str, like: str) -> None:
    """Create a table for rows that will be swapped into `like` by `REPLACE PARTITION`.

    It is on the connection's server only, even where `like` is replicated: the swap is what other replicas
    get. So all statements about it must go to the same server.

    Raises:
        ClickHouseUnavailable: the server did not answer, or there is no table `like`.
    """
    rows = await clickhouse.query(_ENGINE, {"table": like})
    if not rows:
        raise ClickHouseUnavailable(f"there is no table {like}")
    engine = str(rows[0]["engine_full"])
    own = f" ENGINE = {on_one_server(engine)}" if engine.startswith("Replicated") else ""
    await clickhouse.execute(f"CREATE TABLE {staging} AS {like}{own}")

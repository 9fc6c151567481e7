"""Two real replicas with a Keeper: whichever of them is spoken to, the figures are the same, and exact.

These need Docker, because the embedded ClickHouse can not be a replica; without it they are skipped.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser, UsersRollup
from analytics.rollups.refresh import RollupRefresher
from analytics.schema.migrate import SchemaRunner, create_database, load_migrations
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.erasure import ErasureList, Subject
from streams.publisher import Publisher
from tests import parts
from tests.analytics.logs import NOON, make_log
from tests.analytics.rollup_oracle import expected, found
from tests.analytics.rollups.test_refresh import staging_tables
from tests.analytics.sink.test_exactness import batch
from tests.analytics.stored_logs import some_logs, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        parts.source()[0] != "containers", reason=f"two replicas need Docker: {parts.source()[1]}"
    ),
]

FOLDER = Path(__file__).parents[3] / "deploy" / "clickhouse"
CLUSTER, DATABASE = "headrace", "replicas"
Replicas = tuple[ClickHouse, ClickHouse]


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    """Two servers and a Keeper, configured by the files of `deploy/clickhouse`."""
    with Network() as network, _keeper(network), _server(network, 1) as one, _server(network, 2) as two:
        yield [
            f"http://headrace:secret@{each.get_container_host_ip()}:{each.get_exposed_port(8123)}"
            for each in (one, two)
        ]


def _keeper(network: Network) -> DockerContainer:
    return (
        DockerContainer("clickhouse/clickhouse-keeper:latest")
        .with_network(network)
        .with_network_aliases("clickhouse-keeper")
        .with_volume_mapping(str(FOLDER / "keeper.xml"), "/etc/clickhouse-keeper/keeper_config.xml", "ro")
    )


def _server(network: Network, number: int) -> DockerContainer:
    name = f"clickhouse-{number}"
    target = "/etc/clickhouse-server/config.d/headrace_replica.xml"
    container = (
        DockerContainer(parts.CLICKHOUSE_IMAGE, hostname=name)
        .with_network(network)
        .with_network_aliases(name)
        .with_volume_mapping(str(FOLDER / "replica.xml"), target, "ro")
        .with_exposed_ports(8123)
        .waiting_for(HttpWaitStrategy(8123, "/ping"))
    )
    environment = {
        "CLICKHOUSE_USER": "headrace",
        "CLICKHOUSE_PASSWORD": "secret",
        "CLICKHOUSE_REPLICA": name,
        "CLICKHOUSE_CLUSTER_SECRET": "between replicas",
    }
    for variable, value in environment.items():
        container = container.with_env(variable, value)
    return container


@pytest.fixture
async def replicas(urls: list[str]) -> AsyncIterator[Replicas]:
    """A connection to each replica, and a fresh database whose schema both have applied at once."""
    server = ClickHouse(urls[0], database=None, timeout_s=60, cluster=CLUSTER)
    one, two = (ClickHouse(url, database=DATABASE, timeout_s=60, cluster=CLUSTER) for url in urls)
    await create_database(server, DATABASE)
    await asyncio.gather(*(SchemaRunner(each, load_migrations()).apply() for each in (one, two)))
    yield one, two
    await server.execute(f"DROP DATABASE {DATABASE} ON CLUSTER {CLUSTER} SYNC")
    for connection in (server, one, two):
        await connection.close()


async def refresh(clickhouse: ClickHouse) -> int:
    refresher, computed = RollupRefresher(clickhouse), 0
    while (progress := await refresher.refresh()).refreshed:
        computed += len(progress.refreshed)
    return computed


async def test_each_migration_is_applied_once_on_both(replicas: Replicas) -> None:
    """Two processes, each speaking to another replica: every table is there twice, and replicated."""
    layouts = []
    for replica in replicas:
        [row] = await replica.query("SELECT count() AS n FROM schema_migrations")
        assert row["n"] == len(load_migrations())
        layouts.append(
            await replica.query(
                "SELECT name, engine, create_table_query FROM system.tables "
                "WHERE database = currentDatabase() ORDER BY name"
            )
        )
    assert [row["name"] for row in layouts[0]] == [row["name"] for row in layouts[1]]
    engines = {row["engine"] for row in layouts[0]}
    assert engines == {"View", "ReplicatedMergeTree", "ReplicatedReplacingMergeTree"}


async def test_a_batch_written_again_through_the_other_replica_changes_nothing(replicas: Replicas) -> None:
    """The token of an insert is known to both: no row is there twice, merged or not."""
    logs = some_logs(50)
    for replica in replicas:
        writer = BatchWriter(replica, Publisher("nowhere:1", client_id="unused"), SinkStatus())
        await writer.write(batch("llm.logs.replicas", range(50), logs))
    for replica in replicas:
        [row] = await replica.query("SELECT count() AS n FROM requests_raw")
        assert row["n"] == 50


async def test_rollups_come_out_the_same_through_either(replicas: Replicas) -> None:
    """What one has computed the other finds done; rows that one has stored the other computes with."""
    one, two = replicas
    logs = [*some_logs(20), *some_logs(5, prefix="old", at=NOON.replace(hour=1))]
    await store(one, logs)
    await refresh(one)
    assert await refresh(two) == 0
    more = some_logs(7, prefix="more")
    await store(one, more)
    assert await refresh(two) > 0
    assert await refresh(one) == 0
    for replica in replicas:
        assert {name: each for name, each in (await found(replica)).items() if name != "quality_1d"} == {
            name: each for name, each in expected([*logs, *more]).items() if name != "quality_1d"
        }
        assert await staging_tables(replica) == []


async def test_a_user_is_erased_on_both(replicas: Replicas) -> None:
    """The command speaks to one, and returns when the other has done it too."""
    one, two = replicas
    logs = [make_log("a", user_id="ann"), make_log("b", user_id="bob")]
    await store(one, logs)
    await refresh(one)
    ann = Subject("acme", "ann")
    erasure = ErasureList().ordered(ann, mode="delete", until=NOON.replace(hour=23))
    await RowEraser(two).erase(ann, erasure)
    await UsersRollup(two).erase(ann, erasure)
    for replica in replicas:
        for table in ("requests_raw", "llm_calls_raw", "stages_raw"):
            rows = await replica.query(f"SELECT DISTINCT request_id FROM {table}")
            assert [row["request_id"] for row in rows] == ["b"]
    await refresh(one)
    for replica in replicas:
        assert (await found(replica))["users_1d"] == expected(logs[1:])["users_1d"]

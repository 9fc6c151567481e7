"""The watcher on a real broker and a real ClickHouse while a sink is behind: late rows are no anomaly."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from analytics.alerts.alert_log import AlertLog, store_alerts
from analytics.alerts.anomalies import AnomalyLimits
from analytics.alerts.watcher import WatchConfig, Watcher
from analytics.alerts.windows import WindowReader
from analytics.clickhouse import ClickHouse
from analytics.lags import SinkProgress
from analytics.status import WatchStatus
from streams.events import AlertRaised
from streams.kafka.topic_admin import create_topics
from streams.topics import Topic
from tests.analytics.logs import NOON

pytestmark = pytest.mark.integration

LENGTH = timedelta(minutes=15)
REQUESTS = 200
BEFORE, END = NOON - LENGTH, NOON + LENGTH
STORE = """
INSERT INTO requests_raw
    (request_id, tenant, accepted_at, finished_at, status, latency_ms, cost_usd, ingested_at)
SELECT
    concat({name:String}, toString({first:UInt32} + number)) AS request_id,
    'acme' AS tenant,
    fromUnixTimestamp64Micro({since_us:Int64} + ({first:UInt32} + number) * 9000000, 'UTC') AS accepted_at,
    accepted_at AS finished_at,
    'answered' AS status,
    900 AS latency_ms,
    0.01 AS cost_usd,
    accepted_at AS ingested_at
FROM numbers({count:UInt32})
"""


class Bench:
    """Two windows of a request every nine seconds, of which the sink has stored some."""

    def __init__(self, bootstrap: str, clickhouse: ClickHouse, name: str) -> None:
        self.clickhouse = clickhouse
        self.logs, self.alerts = f"logs-{name}", f"alerts-{name}"
        self.bootstrap = bootstrap
        self.status = WatchStatus()
        self.progress = SinkProgress(bootstrap, topic=self.logs, group=self.logs, timeout_s=20)
        self.memory = AlertLog(bootstrap, instance_id="a", timeout_s=20, topic=self.alerts, group=self.alerts)
        self.watcher = Watcher(
            WatchConfig(limits=AnomalyLimits(window=LENGTH), stale_s=1e6, lag_records=10**6),
            WindowReader(clickhouse),
            self.progress,
            self.memory,
            partial(store_alerts, clickhouse),
            status=self.status,
            clock=lambda: END + timedelta(minutes=1),
        )

    async def open(self) -> None:
        """Create the topics, write the log records, and store four weeks of such windows."""
        topics = [Topic(name=self.logs, event=None), Topic(name=self.alerts, event=AlertRaised)]
        await create_topics(self.bootstrap, partitions=1, replication=1, topics=topics)
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        for number in range(REQUESTS):
            at = BEFORE + number * timedelta(seconds=9)
            await producer.send(self.logs, b"{}", timestamp_ms=int(at.timestamp() * 1000))
        await producer.stop()
        for day in range(1, 29):
            await self.store(0, REQUESTS, days_ago=day)

    async def store(self, first: int, count: int, *, days_ago: int = 0) -> None:
        """Store rows of the two windows."""
        since = BEFORE - timedelta(days=days_ago)
        await self.clickhouse.execute(
            STORE,
            {
                "name": f"{days_ago}-",
                "first": first,
                "count": count,
                "since_us": int(since.timestamp()) * 1_000_000,
            },
        )

    async def commit(self, offset: int) -> None:
        """Commit as the sink does."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.logs, enable_auto_commit=False
        )
        await consumer.start()
        place = TopicPartition(self.logs, 0)
        consumer.assign([place])
        await consumer.commit({place: offset})
        await consumer.stop()

    async def look(self) -> list[str]:
        """Let the watcher look until it is the one that watches; return what the topic holds then."""
        while not self.status.watching:
            await self.watcher.round()
        await self.watcher.round()
        assert self.status.failed_rounds == 0
        return [f"{each.rule}:{each.direction}" for each in await self.memory.take_over()]


@pytest.fixture
async def bench(kafka_bootstrap: str, clickhouse: ClickHouse) -> AsyncIterator[Bench]:
    """The parts, and a watcher over them."""
    found = Bench(kafka_bootstrap, clickhouse, uuid4().hex[:8])
    await found.open()
    yield found
    await found.memory.stop()
    await found.progress.close()


async def test_rows_that_come_late_are_waited_for(bench: Bench) -> None:
    """With every tenth row stored nothing is judged; with all of them both windows are, and are as always."""
    await bench.store(0, REQUESTS // 10)
    await bench.commit(REQUESTS // 10)
    assert await bench.look() == []
    assert bench.status.judged_until is None
    assert bench.status.sink_lag_records == REQUESTS * 9 // 10
    await bench.store(REQUESTS // 10, REQUESTS * 9 // 10)
    await bench.commit(REQUESTS)
    assert await bench.look() == []
    assert bench.status.judged_until == END
    assert bench.status.sink_lag_records == 0


async def test_rows_that_are_really_missing_are_an_alert(bench: Bench) -> None:
    """The same rows, with everything committed: spend has fallen, and the watcher says so."""
    for half in (0, REQUESTS // 2):
        await bench.store(half, REQUESTS // 20)
    await bench.commit(REQUESTS)
    assert await bench.look() == ["spend:below", "spend:below"]  # of the tenant, and of all
    (row, _) = await bench.clickhouse.query("SELECT rule, tenant, resolved_at FROM alerts ORDER BY tenant")
    assert (row["rule"], row["tenant"], row["resolved_at"]) == ("spend", "", None)

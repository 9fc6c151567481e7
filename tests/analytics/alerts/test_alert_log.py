"""The alerts topic as memory, on a real broker: who writes, what is read, and what a zombie can do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from analytics.alerts.alert_log import AlertLog
from streams.codec import header_text
from streams.errors import KafkaUnavailable
from streams.events import AlertRaised
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.kafka.topic_admin import create_topics
from streams.topics import Topic

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 20, 8, tzinfo=UTC)


def alert(number: int, **fields: object) -> AlertRaised:
    event = AlertRaised(
        alert_id=f"error_rate:above:t{number}:2026-11-20T08:00:00Z",
        rule="error_rate",
        state="raised",
        severity="warning",
        direction="above",
        observed=0.2,
        expected=0.01,
        unit="ratio",
        method="a test",
        message="errors",
        window_since=AT,
        window_until=AT,
        began_at=AT,
        at=AT,
        tenant=f"t{number}",
    )
    return msgspec.structs.replace(event, **fields)


class Logs:
    """Replicas over a topic of their own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self._started: list[AlertLog] = []

    def replica(self, instance_id: str, auth: RecordAuth = UNSIGNED) -> AlertLog:
        log = AlertLog(
            self.bootstrap,
            instance_id=instance_id,
            timeout_s=20,
            topic=self.topic,
            group=self.topic,
            auth=auth,
        )
        self._started.append(log)
        return log

    async def stop(self) -> None:
        for log in self._started:
            await log.stop()


@pytest.fixture
async def logs(kafka_bootstrap: str) -> AsyncIterator[Logs]:
    """A fresh topic of three partitions."""
    topic = Topic(name=f"alerts-{uuid4().hex[:8]}", event=AlertRaised)
    await create_topics(kafka_bootstrap, partitions=3, replication=1, topics=[topic])
    found = Logs(kafka_bootstrap, topic.name)
    yield found
    await found.stop()


async def until_chosen(*replicas: AlertLog) -> list[AlertLog]:
    async with asyncio.timeout(40):
        while True:
            chosen = [replica for replica in replicas if await replica.is_leader()]
            if chosen:
                return chosen
            await asyncio.sleep(0.1)


async def test_what_was_written_is_read_by_whoever_takes_over(logs: Logs) -> None:
    """All of it, each key's records in order, over all partitions; an empty topic holds nothing."""
    first = logs.replica("a")
    assert await first.take_over() == []
    events = [alert(number) for number in range(12)]
    events += [alert(number, state="resolved") for number in range(12)]
    for event in events:
        await first.publish(event)
    found = await logs.replica("b").take_over()
    assert sorted(event.alert_id + event.state for event in found) == sorted(
        event.alert_id + event.state for event in events
    )
    for number in range(12):
        states = [event.state for event in found if event.tenant == f"t{number}"]
        assert states == ["raised", "resolved"]


async def test_an_alert_that_headrace_did_not_write_counts_for_nothing(logs: Logs) -> None:
    """It would be taken for one that has begun, and be resolved, or keep another from being raised."""
    stranger, ours = logs.replica("a"), logs.replica("b", RecordAuth([b"k" * 32]))
    await stranger.take_over()
    await stranger.publish(alert(1))
    assert await ours.take_over() == []
    await ours.publish(alert(2))
    assert await ours.take_over() == [alert(2)]


async def test_who_was_replaced_can_write_no_more(logs: Logs) -> None:
    """A zombie's record is refused by the broker, and the successor's is the only one."""
    zombie, successor = logs.replica("a"), logs.replica("b")
    await zombie.take_over()
    await zombie.publish(alert(1))
    assert await successor.take_over() == [alert(1)]
    with pytest.raises(KafkaUnavailable):
        await zombie.publish(alert(1, state="resolved"))
    await successor.publish(alert(2))
    assert {event.tenant for event in await logs.replica("c").take_over()} == {"t1", "t2"}


async def test_a_write_that_was_not_finished_was_not_written(logs: Logs) -> None:
    """A process that dies between a record and the end of its transaction leaves nothing behind."""
    dying = AIOKafkaProducer(
        bootstrap_servers=logs.bootstrap, transactional_id=logs.topic, transaction_timeout_ms=30_000
    )
    await dying.start()
    await dying.begin_transaction()
    await dying.send_and_wait(logs.topic, msgspec.json.encode(alert(1)), key=b"k")
    successor = logs.replica("b")
    assert await successor.take_over() == []
    await successor.publish(alert(1))
    assert [event.tenant for event in await logs.replica("c").take_over()] == ["t1"]
    with pytest.raises(KafkaError):
        await dying.commit_transaction()
    await dying.stop()


async def test_a_record_names_its_change_and_its_series(logs: Logs) -> None:
    """The key is the series, and `ce_id` the change, so that any reader can tell a repeat."""
    log = logs.replica("a")
    await log.take_over()
    await log.publish(alert(7))
    reader = AIOKafkaConsumer(
        logs.topic, bootstrap_servers=logs.bootstrap, group_id=None, auto_offset_reset="earliest"
    )
    await reader.start()
    try:
        record = await asyncio.wait_for(reader.getone(), 20)
    finally:
        await reader.stop()
    assert record.key == b"error_rate:above:t7"
    assert header_text(record.headers, "ce_id") == "error_rate:above:t7:2026-11-20T08:00:00Z:raised"
    assert header_text(record.headers, "ce_type") == "headrace.AlertRaised"


async def test_one_of_several_is_chosen_and_another_when_it_is_gone(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never two at once; who stops is followed by another."""
    monkeypatch.setattr("analytics.alerts.alert_log._SESSION_TIMEOUT_MS", 6_000)  # the least that Kafka takes
    monkeypatch.setattr("analytics.alerts.alert_log._HEARTBEAT_MS", 500)
    first, second = logs.replica("a"), logs.replica("b")
    chosen = await until_chosen(first)
    assert chosen == [first]
    async with asyncio.timeout(40):
        while not (await second.is_leader()) ^ (await first.is_leader()):
            await asyncio.sleep(0.1)
    (leader,) = [each for each in (first, second) if await each.is_leader()]
    other = second if leader is first else first
    await leader.stop()
    assert await until_chosen(other) == [other]


async def test_until_when_windows_are_judged_outlives_the_process(logs: Logs) -> None:
    """Nobody has said so at first; then whoever comes next knows."""
    first = logs.replica("a")
    await until_chosen(first)
    assert await first.judged_until() is None
    await first.note_judged(AT)
    await first.stop()
    assert await logs.replica("b").judged_until() == AT


async def test_without_a_broker_it_says_so() -> None:
    """Each step ends in time, with a fault that can be waited out."""
    log = AlertLog("127.0.0.1:1", instance_id="a", timeout_s=2)
    for step in (log.is_leader, log.take_over, log.judged_until):
        with pytest.raises(KafkaUnavailable):
            await step()
    with pytest.raises(KafkaUnavailable, match="not taken over"):
        await log.publish(alert(1))
    await log.stop()

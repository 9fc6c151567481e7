"""How far groups are, on a real broker."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from analytics.lags import GroupLag, read_lags
from streams.errors import KafkaUnavailable
from streams.kafka.inspector import KafkaInspector
from tests.analytics.broker import Broker

NOW = datetime.now(UTC).replace(microsecond=0)


def before(**age: float) -> int:
    """A time before now, in Unix ms."""
    return int((NOW - timedelta(**age)).timestamp() * 1000)


@pytest.mark.integration
async def test_what_a_group_has_not_committed_is_its_lag(broker: Broker) -> None:
    """Over all partitions; without any commit it is everything."""
    stage, topic = f"stage-{uuid4().hex[:8]}", await broker.topic("source")
    await broker.write(topic, b"1", b"2", b"3")
    await broker.write(topic, b"4", partition=1)
    [found] = await read_lags(broker.inspector, now=NOW, sources={stage: topic})
    assert found == GroupLag(
        stage=stage, group=f"headrace.{stage}", topic=topic, lag=4, oldest_s=0.0, members=0
    )
    await broker.commit(f"headrace.{stage}", topic, 2, 1)
    [found] = await read_lags(broker.inspector, now=NOW, sources={stage: topic})
    assert found.lag == 1
    await broker.commit(f"headrace.{stage}", topic, 3, 1)
    [found] = await read_lags(broker.inspector, now=NOW, sources={stage: topic})
    assert (found.lag, found.oldest_s) == (0, 0.0)


@pytest.mark.integration
async def test_the_age_of_the_oldest_is_known_to_a_factor_of_two(broker: Broker) -> None:
    """Each group's for itself, though all are asked for at once; what is committed has no age."""
    old, young = await broker.topic("old"), await broker.topic("young")
    await broker.write(old, b"1", at_ms=before(minutes=60))
    await broker.write(old, b"2", at_ms=before(seconds=3), partition=1)
    await broker.write(young, b"1", at_ms=before(seconds=100))
    sources = {f"old-{uuid4().hex[:8]}": old, f"young-{uuid4().hex[:8]}": young}
    ages = [each.oldest_s for each in await read_lags(broker.inspector, now=NOW, sources=sources)]
    assert ages == [2048.0, 64.0]
    await broker.commit(f"headrace.{next(iter(sources))}", old, 1, 0)
    ages = [each.oldest_s for each in await read_lags(broker.inspector, now=NOW, sources=sources)]
    assert ages == [2.0, 64.0]


@pytest.mark.integration
async def test_a_groups_members_are_counted(broker: Broker) -> None:
    """None says that nobody works on what waits."""
    stage, topic = f"stage-{uuid4().hex[:8]}", await broker.topic("source")
    member = AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, group_id=f"headrace.{stage}", enable_auto_commit=False
    )
    await member.start()
    [found] = await read_lags(broker.inspector, now=NOW, sources={stage: topic})
    await member.stop()
    assert found.members == 1
    [found] = await read_lags(broker.inspector, now=NOW, sources={stage: topic})
    assert found.members == 0


@pytest.mark.integration
async def test_a_topic_that_is_not_there_is_left_out(broker: Broker) -> None:
    """A part of Headrace may run alone."""
    topic = await broker.topic("source")
    found = await read_lags(broker.inspector, now=NOW, sources={"nothing": f"no-{uuid4().hex}", "it": topic})
    assert [each.stage for each in found] == ["it"]


async def test_a_broker_that_is_away_is_a_fault() -> None:
    """In time, and the next question connects anew."""
    questions = KafkaInspector("127.0.0.1:9", client_id="test", timeout_s=2)
    for _ in range(2):
        with pytest.raises(KafkaUnavailable, match="does not answer"):
            await read_lags(questions, now=NOW)
    await questions.close()

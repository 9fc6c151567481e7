"""Creating the topics, on a real broker."""

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.errors import ConfigurationError, KafkaUnavailable
from streams.kafka.topic_admin import create_topics
from streams.pipeline import STAGE_SOURCES, TOPICS
from streams.topics import Topic

pytestmark = pytest.mark.integration


def topics(*, compacted: bool = False) -> list[Topic]:
    prefix = uuid.uuid4().hex
    return [
        Topic(name=f"{prefix}.{n}", event=None, retention_ms=5_000, compacted=compacted) for n in range(3)
    ]


async def describe(bootstrap: str, name: str) -> tuple[int, dict[str, Any]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([name])
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        configs = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        return len(topic["partitions"]), configs
    finally:
        await admin.close()


async def test_creating_twice_creates_once(kafka_bootstrap: str) -> None:
    """The step can be repeated at every start; it says what it created."""
    wanted = topics()
    names = [topic.name for topic in wanted]
    first = await create_topics(kafka_bootstrap, partitions=3, replication=1, topics=wanted)
    again = await create_topics(kafka_bootstrap, partitions=3, replication=1, topics=wanted)
    assert (sorted(first), again) == (names, [])
    partitions, configs = await describe(kafka_bootstrap, names[0])
    assert partitions == 3
    assert configs["retention.ms"] == "5000"
    assert int(configs["max.message.bytes"]) == wanted[0].broker_bytes


async def test_several_processes_may_create_at_once(kafka_bootstrap: str) -> None:
    """Each topic is created by exactly one of them, and none of them fails."""
    wanted = topics()
    created = await asyncio.gather(
        *(create_topics(kafka_bootstrap, partitions=1, replication=1, topics=wanted) for _ in range(4))
    )
    assert sorted(name for names in created for name in names) == [topic.name for topic in wanted]


async def test_a_compacted_topic_is_kept_for_ever(kafka_bootstrap: str) -> None:
    """Its newest record of each key is the state."""
    (topic, *_) = topics(compacted=True)
    await create_topics(kafka_bootstrap, partitions=1, replication=1, topics=[topic])
    _, configs = await describe(kafka_bootstrap, topic.name)
    assert (configs["cleanup.policy"], configs["retention.ms"]) == ("compact", "-1")


async def test_reply_topics_are_created_and_patterns_are_not(kafka_bootstrap: str) -> None:
    """A pattern is no name."""
    name = f"orders.{uuid.uuid4().hex}"
    created = await create_topics(
        kafka_bootstrap, partitions=1, replication=1, topics=[], extra=[name, "*.replies", "a?", "[ab].x"]
    )
    assert created == [name]


async def test_a_created_topic_can_be_used_at_once(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller confirms it before the broker tells of it, and before its partitions have leaders."""
    described = AIOKafkaAdminClient.describe_topics
    answers: list[Any] = []

    async def late(admin: AIOKafkaAdminClient, names: list[str]) -> Any:
        (topic,) = await described(admin, names)
        if not answers:
            topic |= {"error_code": 3, "partitions": []}
        elif len(answers) == 1:
            topic["partitions"][0]["error_code"] = 5
        answers.append(topic)
        return [topic]

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_topics", late)
    await create_topics(kafka_bootstrap, partitions=2, replication=1, topics=topics()[:1])
    assert len(answers) >= 3
    assert answers[-1]["error_code"] == 0
    assert [each["error_code"] for each in answers[-1]["partitions"]] == [0, 0]


async def test_a_replication_factor_beyond_the_brokers_is_a_wrong_setting(kafka_bootstrap: str) -> None:
    """Not an outage: waiting would not help."""
    with pytest.raises(ConfigurationError, match=r"the broker refuses topic .*eplication"):
        await create_topics(kafka_bootstrap, partitions=1, replication=3, topics=topics()[:1])


async def test_without_a_broker() -> None:
    """The fault names the address."""
    with pytest.raises(KafkaUnavailable, match=r"cannot create topics at 127.0.0.1:1"):
        await create_topics("127.0.0.1:1", partitions=1, replication=1)


def test_the_topics_are_versioned_and_of_one_family() -> None:
    """A change that readers would not understand is a new topic beside the old one."""
    names = list(TOPICS)
    assert len(set(names)) == len(names)
    assert all(name.startswith("llm.") and name.endswith(".v1") for name in names)
    compacted = {topic.name for topic in TOPICS.values() if topic.compacted}
    assert compacted == {"llm.control.v1", "llm.erasures.v1"}
    assert not compacted & set(STAGE_SOURCES)

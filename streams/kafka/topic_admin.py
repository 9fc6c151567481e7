"""Creates the topics: an explicit step that can be repeated. Brokers never create them by themselves."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.errors import ConfigurationError, KafkaUnavailable
from streams.pipeline import TOPICS
from streams.topics import Topic

_TIMEOUT_S = 30.0
_LOOK_AGAIN_S = 0.05
_WILD = frozenset("*?[")


async def create_topics(
    bootstrap: str,
    *,
    partitions: int,
    replication: int,
    topics: Iterable[Topic] = TOPICS.values(),
    extra: Sequence[str] = (),
) -> list[str]:
    """Create the topics that do not exist yet, and return their names when they can be used.

    All stage topics must have the same number of partitions, because a request keeps its partition on its
    way. `extra` are reply topics of upstream services, to be created too; patterns among them are ignored.
    Raises `ConfigurationError` where the broker refuses a topic, e.g. for its replication factor.
    """
    wanted = [_new_topic(topic, partitions, replication) for topic in topics]
    wanted += [
        _new_topic(Topic(name=name, event=None), partitions, replication)
        for name in extra
        if not _WILD & set(name)
    ]
    try:
        return await asyncio.wait_for(_create(bootstrap, wanted), _TIMEOUT_S)
    except (KafkaError, TimeoutError, OSError) as fault:
        raise KafkaUnavailable(f"cannot create topics at {bootstrap}: {fault!r}") from fault


def _new_topic(topic: Topic, partitions: int, replication: int) -> NewTopic:
    configs = {"retention.ms": str(topic.retention_ms), "max.message.bytes": str(topic.broker_bytes)}
    if topic.compacted:
        configs |= {"cleanup.policy": "compact", "retention.ms": "-1"}
    return NewTopic(topic.name, partitions, replication, topic_configs=configs)


async def _create(bootstrap: str, wanted: Sequence[NewTopic]) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in existing]
        if not missing:
            return []
        answer = await admin.create_topics(missing)
        created = [name for name, code, message in answer.topic_errors if _created(name, code, message)]
        await _until_led(admin, {topic.name for topic in missing})
        return created
    finally:
        await admin.close()


async def _until_led(admin: AIOKafkaAdminClient, names: Collection[str]) -> None:
    """Wait until a broker knows the topics and a leader of each partition.

    The controller confirms a topic before the brokers know it: a client that asks at once finds nothing.
    """
    while True:
        described = await admin.describe_topics(list(names))
        faults = [each["error_code"] for topic in described for each in (topic, *topic["partitions"])]
        if described and not any(faults):
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def _created(name: str, code: int, message: str | None) -> bool:
    if code == 0:
        return True
    if code == TopicAlreadyExistsError.errno:
        return False  # another process was quicker
    raise ConfigurationError(f"the broker refuses topic {name}: {message or for_code(code).__name__}")

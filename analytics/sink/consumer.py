"""The Kafka consumers of the sink and of feedback."""

import asyncio
import time
from collections.abc import Collection

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from analytics.sink.batches import BatchLimits, ConsumedRecord
from streams.errors import KafkaUnavailable
from streams.kafka.clients import stop_client
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import SINK

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 50
_POLL_RECORDS = 2_000
_NOWHERE = TopicPartition("", 0)
_FETCH_BYTES_PER_PARTITION = 1024 * 1024  # a larger record still comes, alone
_SESSION_TIMEOUT_MS = 6_000  # a replica that died is replaced after this; one that restarts rejoins at once
_HEARTBEAT_MS = 1_000
_REBALANCE_TIMEOUT_MS = 30_000


class ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer reads, and as whom.

    `instance_id` is the replica's stable name in the group; `auth` tells which records Headrace wrote;
    `fetch_wait_ms` is how long a broker holds a fetch that it has no records for.
    """

    bootstrap: str
    topic: str
    instance_id: str
    group: str
    auth: RecordAuth = UNSIGNED
    kafka_timeout_s: float = 15.0
    fetch_wait_ms: int = FETCH_WAIT_MS


class SinkConfig(ConsumerConfig, frozen=True, kw_only=True):
    """How the sink reads.

    `buffer_bytes` bounds the records that wait in memory, over all partitions; `batch` when they are
    written.
    """

    batch: BatchLimits
    group: str = SINK.group
    buffer_bytes: int = 16 * 1024 * 1024


async def start_consumer(config: ConsumerConfig) -> AIOKafkaConsumer:
    """Return a connected consumer that commits nothing by itself and has subscribed to nothing yet.

    It is a static member of its group: a replica that restarts gets its partitions back at once, and
    nobody else's move.

    Raises:
        KafkaUnavailable: no broker answered in time.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.bootstrap.split(","),
        client_id=f"{config.group}.{config.instance_id}",
        group_id=config.group,
        group_instance_id=config.instance_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=_SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=_HEARTBEAT_MS,
        rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
        max_partition_fetch_bytes=_FETCH_BYTES_PER_PARTITION,
        fetch_max_wait_ms=config.fetch_wait_ms,
    )
    try:
        await asyncio.wait_for(consumer.start(), config.kafka_timeout_s)
    except (KafkaError, TimeoutError, OSError) as fault:
        await stop_consumer(consumer, timeout_s=config.kafka_timeout_s)
        raise KafkaUnavailable(f"no Kafka broker at {config.bootstrap}: {fault!r}") from fault
    return consumer


async def fetch(
    consumer: AIOKafkaConsumer, wanted: Collection[TopicPartition]
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """Return what has come of the wanted partitions, after `FETCH_WAIT_MS` at the latest.

    What was fetched of others waits for them to be wanted again, and no more of them is fetched meanwhile.
    Pausing them would throw it away, to be fetched once more. It is to be called even while nothing is
    wanted: a consumer that does not ask is put out of its group.

    Raises:
        KafkaError: what aiokafka cannot put right itself.
    """
    # Asked for no partitions, aiokafka takes it for all of them.
    found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
        *(wanted or (_NOWHERE,)), timeout_ms=FETCH_WAIT_MS, max_records=_POLL_RECORDS
    )
    return found


def record_of(record: ConsumerRecord, auth: RecordAuth) -> ConsumedRecord:
    """Return a record with what is authentic of its headers."""
    authentic, headers = auth.read(record.topic, record.key, record.value, record.headers)
    return ConsumedRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=headers,
        authentic=authentic,
    )


def silence_s(consumer: AIOKafkaConsumer) -> float:
    """Return how long no broker has answered a fetch, in seconds; 0 where none has answered yet.

    In an outage aiokafka retries by itself and its polls just stay empty, which looks like an idle topic. It
    grows as well while nothing is asked for.
    """
    answers = [
        at for where in consumer.assignment() if (at := consumer.last_poll_timestamp(where)) is not None
    ]
    return max(time.time() - max(answers) / 1000, 0.0) if answers else 0.0


async def stop_consumer(consumer: AIOKafkaConsumer, *, timeout_s: float) -> None:
    """Disconnect, whatever state the broker is in. A static member stays in its group."""
    if (fault := await stop_client(consumer, timeout_s=timeout_s)) is not None:
        log.warning("sink.stop_failed", error=fault)

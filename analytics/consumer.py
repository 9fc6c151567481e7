"""The sink's Kafka consumer: how it joins its group, and whether a broker answers it."""

import asyncio
import time

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from analytics.batches import Limits
from streams.errors import KafkaUnavailable

log = structlog.get_logger(__name__)

GROUP = "headrace.analytics"

FETCH_WAIT_MS = 50
_FETCH_BYTES_PER_PARTITION = 1024 * 1024  # a larger record still comes, alone
_SESSION_TIMEOUT_MS = 6_000  # a replica that died is replaced after this; one that restarts rejoins at once
_HEARTBEAT_MS = 1_000
_REBALANCE_TIMEOUT_MS = 30_000


class SinkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the sink reads.

    `buffer_bytes` bounds the records that wait in memory, over all partitions; `batch` when they are
    written. `instance_id` is the replica's stable name in the group.
    """

    bootstrap: str
    topic: str
    instance_id: str
    batch: Limits
    group: str = GROUP
    buffer_bytes: int = 16 * 1024 * 1024
    kafka_timeout_s: float = 15.0


async def start_consumer(config: SinkConfig) -> AIOKafkaConsumer:
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
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    try:
        await asyncio.wait_for(consumer.start(), config.kafka_timeout_s)
    except (KafkaError, TimeoutError, OSError) as fault:
        await stop_consumer(consumer, timeout_s=config.kafka_timeout_s)
        raise KafkaUnavailable(f"no Kafka broker at {config.bootstrap}: {fault!r}") from fault
    return consumer


def silence_s(consumer: AIOKafkaConsumer) -> float:
    """Return how long no broker has answered a fetch, in seconds; 0 where nothing is being read.

    In an outage aiokafka retries by itself and its polls just stay empty, which looks like an idle topic.
    """
    reading = consumer.assignment() - consumer.paused()
    answers = [at for where in reading if (at := consumer.last_poll_timestamp(where)) is not None]
    return max(time.time() - max(answers) / 1000, 0.0) if answers else 0.0


async def stop_consumer(consumer: AIOKafkaConsumer, *, timeout_s: float) -> None:
    """Disconnect, whatever state the broker is in; a static member does not leave its group by that.

    In a task of its own, because aiokafka lets the cancellation of its inner tasks escape from `stop`
    when no broker answers, which our caller would take for its own.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait((stopping,), timeout=timeout_s)
    if not stopping.done():
        stopping.cancel()
        log.warning("sink.stop_failed", error=f"the consumer did not stop within {timeout_s:g} s")
    elif stopping.cancelled() or stopping.exception() is not None:
        log.warning("sink.stop_failed", error="no broker answered")

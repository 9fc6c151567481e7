"""Kafka consumers without a consumer group, opened and closed whatever state the broker is in."""

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streams.backoff import Backoff
from streams.kafka.clients import start_client, stop_client

log = structlog.get_logger(__name__)

#: What a consumer raises while the broker is away.
BROKER_FAULTS = (KafkaError, OSError, TimeoutError)
#: The waits between two tries to reach the broker.
RECONNECT = Backoff(first_s=0.2, max_s=5.0)


async def open_consumer(bootstrap: str, *, client_id: str, timeout_s: float) -> AIOKafkaConsumer:
    """Return a connected consumer that has no partitions yet, and commits nothing.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: what one of the broker's answers may take, in seconds.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        request_timeout_ms=int(timeout_s * 1000),  # a broker that vanished never says so
    )
    await start_client(consumer, timeout_s=timeout_s)
    return consumer


async def close_consumer(consumer: AIOKafkaConsumer, *, timeout_s: float) -> None:
    """Disconnect, whatever state the broker is in."""
    if (fault := await stop_client(consumer, timeout_s=timeout_s)) is not None:
        log.warning("consumer.stop_failed", error=fault)

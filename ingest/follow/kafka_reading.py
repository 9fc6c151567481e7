"""Kafka consumers without a group, opened and closed whatever state the broker is in."""

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streams.kafka.clients import start_client, stop_client

log = structlog.get_logger(__name__)

#: What reading raises while the broker is away.
FAULTS = (KafkaError, OSError, TimeoutError)
#: How long to wait after so many faults in a row, in seconds.
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)

_CANCEL_AGAIN_S = 0.5


def backoff_s(failures: int) -> float:
    """Return how long to wait after so many faults in a row, in seconds."""
    return BACKOFF_S[min(failures, len(BACKOFF_S)) - 1] if failures else 0.0


async def open_consumer(bootstrap: str, *, client_id: str, timeout_s: float) -> AIOKafkaConsumer:
    """Return a consumer that has no partitions yet, and commits nothing.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: what one of its requests may take, in seconds.
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
        log.warning("kafka_reading.stop_failed", error=fault)


async def end_task(task: asyncio.Task[None] | None) -> None:
    """Cancel a task that reads, until it is done.

    Again and again: in Python 3.11 `asyncio.wait_for`, which aiokafka uses, swallows a cancellation
    that arrives together with the result it waits for.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_AGAIN_S)

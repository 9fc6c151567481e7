"""Asks the broker for end offsets, on a connection of its own: the consumer's may be stuck."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.kafka.clients import stop_client


class BrokerEndOffsets:
    """Asks for the end offsets of partitions. Each question opens a connection, so it is asked rarely.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        timeout_s: how long one question may take.
    """

    def __init__(self, bootstrap: str, *, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s

    async def __call__(self, places: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int] | None:
        """Return the end of each partition (topic, number), or None if no broker answered in time."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","), request_timeout_ms=int(self._timeout_s * 1000)
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await consumer.start()
                ends = await consumer.end_offsets([TopicPartition(*place) for place in places])
        except (KafkaError, OSError, TimeoutError):
            return None
        finally:
            await stop_client(consumer, timeout_s=self._timeout_s)
        return {(at.topic, at.partition): end for at, end in ends.items()}

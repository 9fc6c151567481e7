"""What Kafka alone takes for a request: one record through as many topics as a request of Headrace passes.

One process, aiokafka and nothing else: a reader per topic that sends what it read to the next topic, each
send acknowledged (`acks=all`, idempotent), offsets committed twice a second; no check, no decoding, no
accounting. So it is the floor of any pipeline of these stages on this broker, and no gateway.

    .venv/bin/python -m bench.side_by_side.kafka_traversals HOST:PORT [--requests 300]
"""

import argparse
import asyncio
import logging
import sys
import time
import uuid
from collections.abc import Callable, Sequence

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.side_by_side.load import Quantiles
from streams.pipeline import path
from streams.topics import REQUESTS

#: The topics of the stages, and the one of the replies.
TRAVERSALS = len(path(REQUESTS)) + 1
_PARTITIONS = 4
_RECORD_BYTES = 1000
_COMMIT_INTERVAL_S = 0.5
_WARM_UP = 50
_IN_FLIGHT = 64
_TIMEOUT_S = 120.0
_POLL_MS = 1000


class RawFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Latency one at a time; CPU of this process a request, one at a time and with many in flight.

    `requests` is how many there were in all.
    """

    traversals: int
    requests: int
    latency: Quantiles
    cpu_ms: float
    in_flight: int
    rate_in_flight: float
    cpu_ms_in_flight: float


class Chain:
    """Topics in a row, with what forwards from each to the next."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0
        )

    async def run(self, requests: int) -> RawFigures:
        """Send requests through the topics, one at a time and then side by side."""
        await self._producer.start()
        readers = [await self._reader(topic) for topic in self._topics]
        tasks = [
            asyncio.create_task(self._forward(reader, self._next(place)))
            for place, reader in enumerate(readers)
        ]
        try:
            await self._crowd(_WARM_UP)
            latencies, used = [], time.process_time()
            for _ in range(requests):
                begun = time.perf_counter()
                await self._send()
                latencies.append(time.perf_counter() - begun)
            alone = time.process_time() - used
            many = requests * 10
            used, begun = time.process_time(), time.perf_counter()
            await self._crowd(many)
            elapsed, crowd = time.perf_counter() - begun, time.process_time() - used
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for reader in readers:
                await reader.stop()
            await self._producer.stop()
        return RawFigures(
            traversals=len(self._topics),
            requests=_WARM_UP + requests + many,
            latency=Quantiles.of(latencies),
            cpu_ms=1000 * alone / requests,
            in_flight=_IN_FLIGHT,
            rate_in_flight=many / elapsed,
            cpu_ms_in_flight=1000 * crowd / many,
        )

    async def _reader(self, topic: str) -> AIOKafkaConsumer:
        reader = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=topic,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await reader.start()
        reader.assign([TopicPartition(topic, number) for number in range(_PARTITIONS)])
        return reader

    def _next(self, place: int) -> Callable[[bytes, bytes], asyncio.Future[None] | None]:
        if place + 1 == len(self._topics):
            return self._arrived
        topic = self._topics[place + 1]

        def send(key: bytes, value: bytes) -> asyncio.Future[None]:
            return asyncio.ensure_future(self._producer.send_and_wait(topic, value, key))

        return send

    def _arrived(self, key: bytes, _: bytes) -> None:
        self._waiting.pop(key).set_result(None)

    async def _forward(
        self, reader: AIOKafkaConsumer, forward: Callable[[bytes, bytes], asyncio.Future[None] | None]
    ) -> None:
        committed = time.monotonic()
        while True:
            fetched = await reader.getmany(timeout_ms=_POLL_MS)
            sent = [forward(record.key, record.value) for records in fetched.values() for record in records]
            await asyncio.gather(*(each for each in sent if each is not None))
            if sent and time.monotonic() - committed > _COMMIT_INTERVAL_S:
                await reader.commit()
                committed = time.monotonic()

    async def _send(self) -> None:
        key = uuid.uuid4().hex.encode()
        arrived = self._waiting[key] = asyncio.get_running_loop().create_future()
        await self._producer.send_and_wait(self._topics[0], bytes(_RECORD_BYTES), key)
        await arrived

    async def _crowd(self, requests: int) -> None:
        left = iter(range(requests))

        async def user() -> None:
            for _ in left:
                await self._send()

        await asyncio.gather(*(user() for _ in range(_IN_FLIGHT)))


async def measure(bootstrap: str, requests: int) -> RawFigures:
    """Make topics of our own, measure, and take them away again."""
    name = f"side-by-side-{uuid.uuid4().hex[:8]}"
    topics = [f"{name}.{number}" for number in range(TRAVERSALS)]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(each, _PARTITIONS, 1) for each in topics])
        async with asyncio.timeout(_TIMEOUT_S):
            return await Chain(bootstrap, topics).run(requests)
    finally:
        await admin.delete_topics(topics)
        await admin.close()


def main() -> int:
    """Measure and write one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bootstrap", help="host:port of the broker")
    parser.add_argument(
        "--requests", type=int, default=300, help="one at a time; ten times as many side by side"
    )
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader yet
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(options.bootstrap, options.requests))
    print(msgspec.json.encode(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a hop costs: consume a record, decode it, forward it to the next topic, acknowledged by the broker.

Compares the worker's runner with a bare aiokafka loop that does the same without any guarantee (fetch a
batch, send all of it, commit), alternating in one run on one Kafka. Records come in two ways: as a backlog,
so in batches, and one by one from another process. CPU time is that of this process: Kafka's is not in it.

    .venv/bin/python -m bench.hop [--records 4000] [--rounds 3] [--in-flight 64] [--rate 300]
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.runner.dead_letters import DeadLetters
from agents.runner.record_retry import RecordRetryPolicy
from agents.runner.stage_app import StageApp
from agents.runner.stage_handler import StageHandler
from agents.runner.stage_runner import StageRunner
from agents.stage import Delivery
from headrace.embedded.kafka import EmbeddedKafka
from streams import codec
from streams.events import ChatRequested, Reply, Status
from streams.kafka.topic_admin import create_topics
from streams.pipeline import StageSpec
from streams.publisher import Emit, Publisher
from streams.settings import Settings
from streams.topics import REPLIES, REQUESTS

_PARTITIONS = 4
_TIMEOUT_S = 300.0
_FEED_STEP_S = 0.002
_RETRY = RecordRetryPolicy(in_place_s=10, attempts=1, max_delay_s=1)

#: Starts a consumer of a group, calls back once it reads, forwards so many records; returns its CPU seconds.
Side = Callable[[str, str, int, int, Callable[[], None]], Coroutine[Any, Any, float]]


class ForwardStage:
    """A stage that hands each request on as a reply, and counts down what the broker has acknowledged."""

    def __init__(self, group: str, wanted: int) -> None:
        self.spec = StageSpec(name=group, source=REQUESTS, next=REPLIES)
        self._left = wanted
        self.done = asyncio.Event()

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        """Return the reply."""
        return (_forwarded(delivery.event),)

    async def delivered(self, _: Delivery[ChatRequested]) -> None:
        """Count the record."""
        self._left -= 1
        if self._left <= 0:
            self.done.set()


def _forwarded(event: ChatRequested) -> Emit:
    reply = Reply(request_id=event.request_id or "", status=Status.ANSWERED, content=event.query or "")
    return Emit.to(REPLIES, reply, key=reply.request_id)


async def _runner(
    bootstrap: str, group: str, wanted: int, in_flight: int, reading: Callable[[], None]
) -> float:
    stage = ForwardStage(group, wanted)
    settings = Settings(
        kafka_bootstrap=bootstrap,
        redis_url="redis://unused",
        clickhouse_url="http://unused",
        stage_in_flight=in_flight,
        record_signing="off",
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own
    )
    async with Publisher(bootstrap, client_id="hop") as publisher:
        dead_letters = DeadLetters(reply_topics=(), default_deadline_ms=60_000)
        handler = StageHandler(stage, dead_letters, retry=_RETRY, default_deadline_ms=60_000)
        app = StageApp(stage.spec, StageRunner(handler, publisher).run, settings, now=time.monotonic)
        await app.start()
        began = time.process_time()
        reading()
        await asyncio.wait_for(stage.done.wait(), _TIMEOUT_S)
        used = time.process_time() - began
        await app.stop()
    return used


async def _bare(
    bootstrap: str, group: str, wanted: int, in_flight: int, reading: Callable[[], None]
) -> float:
    consumer = AIOKafkaConsumer(
        REQUESTS.name,
        bootstrap_servers=bootstrap,
        group_id=f"headrace.{group}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0)
    await producer.start()
    await consumer.start()

    async def forward(record: Any) -> None:
        emit = _forwarded(codec.decode(record.value, ChatRequested, record.headers))
        assert isinstance(emit.value, Reply)  # noqa: S101  # as made above
        await producer.send_and_wait(emit.topic, codec.encode(emit.value), str(emit.key).encode())

    began, left = time.process_time(), wanted
    reading()
    async with asyncio.timeout(_TIMEOUT_S):
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=in_flight)
            records = [record for each in fetched.values() for record in each]
            if records:
                await asyncio.gather(*map(forward, records))
                await consumer.commit()
            left -= len(records)
    used = time.process_time() - began
    await consumer.stop()
    await producer.stop()
    return used


def _feed(bootstrap: str, records: int, rate: float | None) -> None:
    """Publish requests: all at once, or so many a second."""

    async def feed() -> None:
        async with Publisher(bootstrap, client_id="feed") as publisher:
            began, sent = time.monotonic(), 0
            while sent < records:
                due = records if rate is None else min(records, int((time.monotonic() - began) * rate))
                many = min(due - sent, 200)
                await asyncio.gather(*(publisher.publish(_request()) for _ in range(many)))
                sent += many
                await asyncio.sleep(_FEED_STEP_S)

    asyncio.run(feed())


def _request() -> Emit:
    request_id = uuid.uuid4().hex
    event = ChatRequested(request_id=request_id, user_id="u", query="What is the capital of France? " * 20)
    return Emit.to(REQUESTS, event, key=request_id)


async def _begin_at_end(bootstrap: str, group: str) -> None:
    """Commit the present ends for a new group, so that it reads only what comes later."""
    places = [TopicPartition(REQUESTS.name, number) for number in range(_PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=f"headrace.{group}", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
    finally:
        await consumer.stop()


def _measure(side: Side, bootstrap: str, records: int, in_flight: int, rate: float | None) -> float:
    """Run one side in a loop of its own; return microseconds of CPU a record."""
    group = f"hop-{uuid.uuid4().hex[:8]}"
    feeder = multiprocessing.get_context("spawn").Process(target=_feed, args=(bootstrap, records, rate))
    if rate is not None:
        asyncio.run(_begin_at_end(bootstrap, group))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        begin = feeder.start if rate is not None else lambda: None
        used = runner.run(side(bootstrap, group, records, in_flight, begin))
    if rate is not None:
        feeder.join(_TIMEOUT_S)
    return used / records * 1e6


def _compare(bootstrap: str, options: argparse.Namespace, rate: float | None) -> None:
    found: dict[str, list[float]] = {"bare": [], "runner": []}
    for _ in range(options.rounds):
        for name, side in (("bare", _bare), ("runner", _runner)):
            found[name].append(_measure(side, bootstrap, options.records, options.in_flight, rate))
    what = f"backlog, {options.in_flight} in flight" if rate is None else f"one by one, {rate:g} a second"
    sys.stdout.write(f"{what}\n")
    for name, values in found.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        sys.stdout.write(f"  {name:7} {statistics.median(values):6.0f} us CPU a record ({spread})\n")
    ratio = statistics.median(found["runner"]) / statistics.median(found["bare"])
    sys.stdout.write(f"  runner / bare {ratio:.2f}\n")


def main() -> int:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rate", type=float, default=300.0)
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with tempfile.TemporaryDirectory(prefix="headrace-hop-") as folder:
        kafka = EmbeddedKafka(Path(folder))
        kafka.start()
        try:
            bootstrap = kafka.endpoint
            asyncio.run(create_topics(bootstrap, partitions=_PARTITIONS, replication=1))
            _feed(bootstrap, options.records, None)
            _compare(bootstrap, options, None)
            _compare(bootstrap, options, options.rate)
        finally:
            kafka.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

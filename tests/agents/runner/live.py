"""Apps over the real broker: a stage that echoes, and what tests wait for."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.runner.dead_letters import DeadLetters
from agents.runner.record_retry import RecordRetryPolicy
from agents.runner.stage_app import StageApp
from agents.runner.stage_handler import StageHandler
from agents.runner.stage_runner import StageRunner
from agents.stage import Delivery, Stage, Superseded
from streams.events import ChatRequested, Reply, Status
from streams.pipeline import StageSpec
from streams.publisher import Emit, Publisher
from streams.settings import Settings
from streams.topics import REPLIES, REQUESTS
from tests.parts import PARTITIONS

IN_PLACE = RecordRetryPolicy(in_place_s=3600, attempts=1, max_delay_s=1)


class EchoStage:
    """Replies with the query; special queries take until they are released, or end as if taken over."""

    def __init__(self, group: str) -> None:
        self.spec = StageSpec(name=f"echo-{group}", source=REQUESTS, next=REPLIES)
        self.slow_started = asyncio.Event()
        self.release_slow = asyncio.Event()
        self.is_zombie = False
        self.superseded = asyncio.Event()

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        query = delivery.event.query or ""
        if query == "slow":
            self.slow_started.set()
            await self.release_slow.wait()
        if query == "bug":
            raise ZeroDivisionError
        if query == "superseded" and self.is_zombie:
            self.superseded.set()
            raise Superseded
        reply = Reply(request_id=delivery.event.request_id or "", status=Status.ANSWERED, content=query)
        return (Emit.to(REPLIES, reply, key=reply.request_id),)

    async def delivered(self, delivery: Delivery[ChatRequested]) -> None:
        """Nothing to note."""


def settings(bootstrap: str, *, drain_timeout_s: float = 1.0, in_flight: int = 8) -> Settings:
    return Settings(
        kafka_bootstrap=bootstrap,
        redis_url="redis://unused",
        clickhouse_url="http://unused",
        drain_timeout_s=drain_timeout_s,
        stage_in_flight=in_flight,
        revoke_drain_s=drain_timeout_s,
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own
    )


def stage_app(
    stage: Stage[Any],
    publisher: Publisher,
    settings: Settings,
    *,
    retry: RecordRetryPolicy = IN_PLACE,
    now: Callable[[], float] = time.monotonic,
) -> StageApp:
    """A stage as an app, wired as a worker wires it."""
    dead_letters = DeadLetters(reply_topics=(), default_deadline_ms=60_000)
    runner = StageRunner(
        StageHandler(stage, dead_letters, retry=retry, default_deadline_ms=60_000), publisher
    )
    return StageApp(stage.spec, runner.run, settings, now=now)


def request(query: str) -> Emit:
    request_id = uuid.uuid4().hex
    event = ChatRequested(request_id=request_id, user_id="u", query=query)
    return Emit.to(REQUESTS, event, key=request_id, partition=0)


async def committed(app: StageApp) -> int | None:
    consumer: Any = app.consumer._consumer
    found: int | None = await consumer.committed(TopicPartition(REQUESTS.name, 0))
    return found


async def wait_for(condition: Callable[[], Awaitable[bool]], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.05)


async def read(bootstrap: str, topic: str, keys: set[str]) -> dict[str, bytes]:
    """Read all of a topic until every key was seen."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
    await consumer.seek_to_beginning()
    found: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(20):
            while not keys <= found.keys():
                record = await consumer.getone()
                found[(record.key or b"").decode()] = record.value
    finally:
        await consumer.stop()
    return found


async def at_least(app: StageApp, offset: int) -> bool:
    return (await committed(app) or 0) >= offset

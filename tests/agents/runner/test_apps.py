"""The runner against a real broker."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.runner.apps import StageApp
from agents.runner.dead_letters import DeadLetters
from agents.runner.execution import StageRunner
from agents.stage import Delivery
from streams.events import ChatRequested, Reply, Status
from streams.publisher import Emit, Publisher
from streams.settings import Settings
from streams.topics import DEAD_LETTERS, REPLIES, REQUESTS
from tests.parts import PARTITIONS

pytestmark = pytest.mark.integration


class EchoStage:
    """Replies with the query; one special query takes until it is released."""

    name = "echo"
    source = REQUESTS

    def __init__(self, group: str) -> None:
        self.name = f"echo-{group}"
        self.slow_started = asyncio.Event()
        self.release_slow = asyncio.Event()

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        query = delivery.event.query or ""
        if query == "slow":
            self.slow_started.set()
            await self.release_slow.wait()
        if query == "bug":
            raise ZeroDivisionError
        reply = Reply(request_id=delivery.event.request_id or "", status=Status.ANSWERED, content=query)
        return (Emit.to(REPLIES, reply, key=reply.request_id),)

    async def delivered(self, delivery: Delivery[ChatRequested]) -> None:
        """Nothing to note."""


def settings(bootstrap: str) -> Settings:
    return Settings(
        kafka_bootstrap=bootstrap,
        redis_url="redis://unused",
        clickhouse_url="http://unused",
        drain_timeout_s=1.0,
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own
    )


def stage_runner(stage: EchoStage, publisher: Publisher) -> StageRunner:
    dead_letters = DeadLetters(reply_topics=(), default_deadline_ms=10_000)
    return StageRunner(stage, publisher, dead_letters, default_deadline_ms=10_000)


def request(query: str) -> Emit:
    request_id = uuid.uuid4().hex
    event = ChatRequested(request_id=request_id, user_id="u", query=query)
    return Emit.to(REQUESTS, event, key=request_id, partition=0)


async def committed(app: StageApp) -> int | None:
    consumer: Any = app.app.consumer
    thread = consumer._thread
    found: int | None = await thread.call_thread(thread._consumer.committed, TopicPartition(REQUESTS.name, 0))
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


async def test_no_commit_passes_an_event_in_flight(kafka_bootstrap: str) -> None:
    """Fast events after a slow one are done, yet the commit stays below the slow one until it is done."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        stage = EchoStage(uuid.uuid4().hex[:8])
        runner = stage_runner(stage, publisher)
        first = request("fast")
        begin = (await publisher.publish(first)).offset
        app = StageApp(runner, settings(kafka_bootstrap), in_flight=8)
        await app.start()
        try:
            await wait_for(lambda: at_least(app, begin + 1))
            slow_at = (await publisher.publish(request("slow"))).offset
            fast = [request("fast") for _ in range(20)]
            for emit in fast:
                last = (await publisher.publish(emit)).offset
            await stage.slow_started.wait()
            await read(kafka_bootstrap, REPLIES.name, {str(emit.key) for emit in fast})
            await app.app.commit(topics={REQUESTS.name})
            assert await committed(app) == slow_at
            stage.release_slow.set()
            await wait_for(lambda: at_least(app, last + 1))
        finally:
            await app.stop()


async def at_least(app: StageApp, offset: int) -> bool:
    return (await committed(app) or 0) >= offset


async def test_a_bug_and_garbage_become_dead_letters_and_the_stage_goes_on(kafka_bootstrap: str) -> None:
    """Neither a handler that raises nor bytes that do not decode stop the stage or lose the record."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        stage = EchoStage(uuid.uuid4().hex[:8])
        stage.release_slow.set()
        runner = stage_runner(stage, publisher)
        bug, garbage_key, fast = request("bug"), uuid.uuid4().hex, request("fast")
        garbage = Emit(topic=REQUESTS.name, key=garbage_key, value=b"\xff not json", headers=(("x", b"1"),))
        for emit in (bug, garbage, fast):
            await publisher.publish(emit)
        app = StageApp(runner, settings(kafka_bootstrap), in_flight=8)
        await app.start()
        try:
            dead = await read(kafka_bootstrap, DEAD_LETTERS.name, {str(bug.key), garbage_key})
            assert dead[garbage_key] == b"\xff not json"
            replies = await read(kafka_bootstrap, REPLIES.name, {str(fast.key), garbage_key})
            assert b"invalid_json" in replies[garbage_key]
        finally:
            await app.stop()


async def test_a_stuck_event_bounds_neither_the_stop_nor_its_redelivery(kafka_bootstrap: str) -> None:
    """A stop gives up on an event that does not finish; the next member of the group gets it again."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        group = uuid.uuid4().hex[:8]
        stuck = EchoStage(group)
        app = StageApp(stage_runner(stuck, publisher), settings(kafka_bootstrap), in_flight=64)
        slow = request("slow")
        await publisher.publish(slow)
        await app.start()
        await stuck.slow_started.wait()
        await app.stop()

        free = EchoStage(group)
        free.release_slow.set()
        again = StageApp(stage_runner(free, publisher), settings(kafka_bootstrap), in_flight=64)
        await again.start()
        try:
            replies = await read(kafka_bootstrap, REPLIES.name, {str(slow.key)})
            assert b'"content":"slow"' in replies[str(slow.key)]
        finally:
            await again.stop()
            stuck.release_slow.set()


async def test_no_record_that_anybody_can_write_stops_a_stage(kafka_bootstrap: str) -> None:
    """Absurd partitions, depths and dates: each its dead letter or reply, and the next record is served."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        stage = EchoStage(uuid.uuid4().hex[:8])
        stage.release_slow.set()
        nowhere = (("kafka_replyPartition", (99).to_bytes(4, "big")),)
        pills = [
            Emit(topic=REQUESTS.name, key=uuid.uuid4().hex, value=value, headers=headers)
            for value, headers in (
                (b"[" * 50_000, ()),
                (b'{"user_id":"u","metadata":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}", ()),
                (b"\xff", nowhere),
                (b'{"user_id":"u","query":"q","accepted_at":"2026-01-01T00:00:00"}', ()),
                (None, ()),
            )
        ]
        last = request("fast")
        for emit in (*pills, last):
            await publisher.publish(emit)
        app = StageApp(stage_runner(stage, publisher), settings(kafka_bootstrap), in_flight=8)
        await app.start()
        try:
            keys = {str(emit.key) for emit in pills}
            await read(kafka_bootstrap, DEAD_LETTERS.name, keys)
            replies = await read(kafka_bootstrap, REPLIES.name, {*keys, str(last.key)})
            assert all(b'"status":"failed"' in replies[key] for key in keys)
        finally:
            await app.stop()

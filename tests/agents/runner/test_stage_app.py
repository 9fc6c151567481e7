"""The runner against a real broker."""

import uuid

import pytest

from streams.publisher import Emit, Publisher
from streams.topics import DEAD_LETTERS, REPLIES, REQUESTS
from tests.agents.runner.live import (
    EchoStage,
    at_least,
    committed,
    read,
    request,
    settings,
    stage_app,
    wait_for,
)

pytestmark = pytest.mark.integration


async def test_no_commit_passes_an_event_in_flight(kafka_bootstrap: str) -> None:
    """Fast events after a slow one are done, yet the commit stays below the slow one until it is done."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        stage = EchoStage(uuid.uuid4().hex[:8])
        first = request("fast")
        begin = (await publisher.publish(first)).offset
        app = stage_app(stage, publisher, settings(kafka_bootstrap))
        await app.start()
        try:
            await wait_for(lambda: at_least(app, begin + 1))
            slow_at = (await publisher.publish(request("slow"))).offset
            fast = [request("fast") for _ in range(20)]
            for emit in fast:
                last = (await publisher.publish(emit)).offset
            await stage.slow_started.wait()
            await read(kafka_bootstrap, REPLIES.name, {str(emit.key) for emit in fast})
            await app.consumer.commit()
            assert await committed(app) == slow_at
            stage.release_slow.set()
            await wait_for(lambda: at_least(app, last + 1))
        finally:
            await app.stop()


async def test_a_bug_and_garbage_become_dead_letters_and_the_stage_goes_on(kafka_bootstrap: str) -> None:
    """Neither a handler that raises nor bytes that do not decode stop the stage or lose the record."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        stage = EchoStage(uuid.uuid4().hex[:8])
        stage.release_slow.set()
        bug, garbage_key, fast = request("bug"), uuid.uuid4().hex, request("fast")
        garbage = Emit(topic=REQUESTS.name, key=garbage_key, value=b"\xff not json", headers=(("x", b"1"),))
        for emit in (bug, garbage, fast):
            await publisher.publish(emit)
        app = stage_app(stage, publisher, settings(kafka_bootstrap))
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
        app = stage_app(stuck, publisher, settings(kafka_bootstrap, in_flight=64))
        slow = request("slow")
        await publisher.publish(slow)
        await app.start()
        await stuck.slow_started.wait()
        await app.stop()

        free = EchoStage(group)
        free.release_slow.set()
        again = stage_app(free, publisher, settings(kafka_bootstrap, in_flight=64))
        await again.start()
        try:
            replies = await read(kafka_bootstrap, REPLIES.name, {str(slow.key)})
            assert b'"content":"slow"' in replies[str(slow.key)]
        finally:
            await again.stop()
            stuck.release_slow.set()


async def test_no_commit_passes_an_event_that_another_worker_took_over(kafka_bootstrap: str) -> None:
    """It is not done here, and the other worker may die: the next member of the group gets it again."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        group = uuid.uuid4().hex[:8]
        zombie = EchoStage(group)
        zombie.is_zombie = True
        zombie.release_slow.set()  # other tests' events
        first = request("fast")
        begin = (await publisher.publish(first)).offset
        app = stage_app(zombie, publisher, settings(kafka_bootstrap))
        await app.start()
        try:
            await wait_for(lambda: at_least(app, begin + 1))
            taken_over = request("superseded")
            taken_over_at = (await publisher.publish(taken_over)).offset
            fast = [request("fast") for _ in range(5)]
            for emit in fast:
                await publisher.publish(emit)
            await zombie.superseded.wait()
            await read(kafka_bootstrap, REPLIES.name, {str(emit.key) for emit in fast})
            await app.consumer.commit()
            assert await committed(app) == taken_over_at
        finally:
            await app.stop()

        successor = EchoStage(group)
        successor.release_slow.set()
        again = stage_app(successor, publisher, settings(kafka_bootstrap))
        await again.start()
        try:
            replies = await read(kafka_bootstrap, REPLIES.name, {str(taken_over.key)})
            assert b'"content":"superseded"' in replies[str(taken_over.key)]
        finally:
            await again.stop()


async def test_an_event_that_another_worker_took_over_holds_the_commits_only_until_it_has_ended(
    kafka_bootstrap: str,
) -> None:
    """The member keeps the partition. Were the event left at that, nothing would be committed any more."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        zombie = EchoStage(uuid.uuid4().hex[:8])
        zombie.is_zombie = True
        zombie.release_slow.set()  # other tests' events
        app = stage_app(zombie, publisher, settings(kafka_bootstrap))
        await app.start()
        try:
            taken_over_at = (await publisher.publish(request("superseded"))).offset
            last = (await publisher.publish(request("fast"))).offset
            await zombie.superseded.wait()
            zombie.is_zombie = False
            await wait_for(lambda: at_least(app, max(taken_over_at, last) + 1), 60)
        finally:
            await app.stop()


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
        app = stage_app(stage, publisher, settings(kafka_bootstrap))
        await app.start()
        try:
            keys = {str(emit.key) for emit in pills}
            await read(kafka_bootstrap, DEAD_LETTERS.name, keys)
            replies = await read(kafka_bootstrap, REPLIES.name, {*keys, str(last.key)})
            assert all(b'"status":"failed"' in replies[key] for key in keys)
        finally:
            await app.stop()

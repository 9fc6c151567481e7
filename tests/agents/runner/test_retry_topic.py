"""Records put aside and brought back, over the real broker and Redis."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from agents.intake.envelopes import open_envelope
from agents.runner.dead_letters import DeadLetters
from agents.runner.in_flight import RecordWork
from agents.runner.record_retry import RecordRetryPolicy
from agents.runner.relay import Drain, Relay
from agents.runner.stage_app import Run, StageApp
from agents.stage import Delivery, Record
from agents.stores.journal import Journal
from agents.stores.journal_entries import Claimed, Lease
from streams import pipeline
from streams.codec import encode
from streams.errors import StoreUnavailable
from streams.events import ChatRequested, Reply, ReplyAddress, Status
from streams.publisher import Emit, Position, Publisher
from streams.redelivery import put_aside, redelivery, replayed
from streams.redis import connection
from streams.topics import DEAD_LETTERS, OUTCOMES, REPLIES, REQUESTS, RETRIES
from tests.agents.runner.live import EchoStage, at_least, read, request, settings, stage_app, wait_for
from tests.parts import PARTITIONS

pytestmark = pytest.mark.integration

ASIDE = RecordRetryPolicy(in_place_s=0.1, attempts=100, max_delay_s=0.5)


class FlakyStage(EchoStage):
    """Cannot do without something that is away, for one request only: topics are shared with other tests."""

    def __init__(self, request_id: str) -> None:
        super().__init__(uuid.uuid4().hex[:8])
        self.request_id = request_id
        self.away = True
        self.seen: list[Record] = []

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        if delivery.event.request_id != self.request_id:
            return ()
        self.seen.append(delivery.record)
        if self.away:
            raise StoreUnavailable("redis is away")
        return await super().handle(delivery)


def relay_app(
    publisher: Publisher,
    bootstrap: str,
    *,
    group: str,
    around: Callable[[Run], Run] = lambda run: run,
    clock: Callable[[], float] = time.time,
    drain_timeout_s: float = 1.0,
) -> StageApp:
    drain = Drain()
    dead_letters = DeadLetters(reply_topics=(), default_deadline_ms=60_000)
    made = Relay(publisher, dead_letters, wait=drain.wait, max_delay_s=30, clock=clock)
    return StageApp(
        msgspec.structs.replace(pipeline.RELAY, name=f"retries-{group}"),
        around(made.run),
        settings(bootstrap, drain_timeout_s=drain_timeout_s, in_flight=64),
        now=time.monotonic,
        on_drain=drain.begin,
        on_assigned=drain.end,
    )


async def test_a_record_is_put_aside_and_comes_back(kafka_bootstrap: str) -> None:
    """Meanwhile its offset is committed and nothing waits for it; it comes back as the same record."""
    sent = request("hello")
    stage = FlakyStage(str(sent.key))
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        at = await publisher.publish(sent)
        app = stage_app(stage, publisher, settings(kafka_bootstrap), retry=ASIDE)
        back = relay_app(publisher, kafka_bootstrap, group=stage.spec.name)
        await asyncio.gather(app.start(), back.start())
        try:
            await wait_for(lambda: at_least(app, at.offset + 1))
            await read(kafka_bootstrap, RETRIES.name, {str(sent.key)})
            stage.away = False
            replies = await read(kafka_bootstrap, REPLIES.name, {str(sent.key)})
        finally:
            await asyncio.gather(app.stop(), back.stop())
    assert b'"content":"hello"' in replies[str(sent.key)]
    first, last = stage.seen[0], stage.seen[-1]
    assert last.place != first.place
    assert (last.address, last.written_at, last.partition) == (
        f"{REQUESTS.name}:0:{at.offset}",
        first.written_at,
        first.partition,
    )
    assert app.view().counts.put_aside >= 1
    assert last.again.attempt >= 1


async def test_after_its_last_attempt_it_is_a_dead_letter(kafka_bootstrap: str) -> None:
    """And its request has failed; the dead letter knows its first record."""
    sent = request("hello")
    stage = FlakyStage(str(sent.key))
    once = RecordRetryPolicy(in_place_s=0.1, attempts=2, max_delay_s=0.2)
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        at = await publisher.publish(sent)
        app = stage_app(stage, publisher, settings(kafka_bootstrap), retry=once)
        back = relay_app(publisher, kafka_bootstrap, group=stage.spec.name)
        await asyncio.gather(app.start(), back.start())
        try:
            dead = await read(kafka_bootstrap, DEAD_LETTERS.name, {str(sent.key)})
            outcomes = await read(kafka_bootstrap, OUTCOMES.name, {str(sent.key)})
        finally:
            await asyncio.gather(app.stop(), back.stop())
    assert str(sent.key).encode() in dead[str(sent.key)]
    assert b'"dependency_unavailable"' in outcomes[str(sent.key)]
    assert {record.address for record in stage.seen} == {f"{REQUESTS.name}:0:{at.offset}"}
    assert max(record.again.attempt for record in stage.seen) == 2


async def test_at_its_deadline_its_sender_is_told(kafka_bootstrap: str) -> None:
    """It is no dead letter: nothing is wrong with it."""
    request_id = uuid.uuid4().hex
    event = ChatRequested(request_id=request_id, user_id="u", query="hello", deadline_ms=6_000)
    stage = FlakyStage(request_id)
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        app = stage_app(stage, publisher, settings(kafka_bootstrap), retry=ASIDE)
        back = relay_app(publisher, kafka_bootstrap, group=stage.spec.name)
        await asyncio.gather(app.start(), back.start())
        try:
            await publisher.publish(Emit.to(REQUESTS, event, key=request_id))
            outcomes = await read(kafka_bootstrap, OUTCOMES.name, {request_id})
        finally:
            await asyncio.gather(app.stop(), back.stop())
        dead = await everything(publisher, kafka_bootstrap, DEAD_LETTERS.name)
    assert b'"dependency_unavailable"' in outcomes[request_id]
    assert request_id not in dead
    assert app.view().counts.put_aside > 0


async def everything(publisher: Publisher, bootstrap: str, topic: str) -> dict[str, bytes]:
    """Return all of a topic, by key: up to a mark at the end of each partition."""
    marks = {uuid.uuid4().hex: number for number in range(PARTITIONS)}
    for mark, number in marks.items():
        await publisher.publish(Emit(topic=topic, key=mark, value=b"mark", partition=number))
    return await read(bootstrap, topic, set(marks))


class PaidStage(EchoStage):
    """Calls a provider that costs money, under a claim in the journal, as the LLM stage does."""

    def __init__(self, request_id: str, journal: Journal) -> None:
        super().__init__(uuid.uuid4().hex[:8])
        self.request_id = request_id
        self.journal = journal
        self.calls = 0
        self.places: set[str] = set()
        self.lease: Lease | None = None

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        if delivery.event.request_id != self.request_id:
            return ()
        self.places.add(delivery.record.place)
        now = datetime.now(UTC)
        claim = await self.journal.claim(
            self.request_id,
            record=delivery.record.address,
            instance="test",
            deadline_at=now + timedelta(minutes=1),
            now=now,
        )
        if not isinstance(claim, Claimed):
            return ()
        self.calls += 1
        self.lease = claim.lease
        await asyncio.sleep(0.2)
        await self.journal.finish(claim.lease, b"answer")
        return await super().handle(delivery)

    async def delivered(self, delivery: Delivery[ChatRequested]) -> None:
        if self.lease is not None:
            await self.journal.sent(self.lease)


async def aside(publisher: Publisher, sent: Emit, *, not_before_ms: int) -> Position:
    """Publish a request, and its copy on the retry topic; only the copy will be read."""
    at = await publisher.publish(sent)
    first = Record(
        topic=at.topic, partition=at.partition, offset=at.offset, timestamp_ms=int(time.time() * 1000)
    )
    headers = put_aside(first, not_before_ms=not_before_ms, reason="redis")
    assert isinstance(sent.value, ChatRequested)
    copy = Emit(topic=RETRIES.name, key=sent.key, value=encode(sent.value), headers=headers)
    await publisher.publish(copy)
    return at


async def test_a_record_that_is_relayed_twice_is_paid_once(kafka_bootstrap: str, redis_url: str) -> None:
    """The relay dies between its send and its acknowledgement, and the next one relays it again."""
    sent = request("hello")
    redis: Redis = connection.connect(redis_url, timeout_s=5)
    stage = PaidStage(str(sent.key), Journal(redis, ttl_s=60))
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        at = await aside(publisher, sent, not_before_ms=0)
        sent_once = asyncio.Event()

        def dying(run: Run) -> Run:
            async def relay_and_die(record: Record, work: RecordWork) -> bool:
                await run(record, work)
                if redelivery(record.headers).record == f"{at.topic}:{at.partition}:{at.offset}":
                    sent_once.set()
                    raise RuntimeError("kill -9")
                return True

            return relay_and_die

        crashed = relay_app(publisher, kafka_bootstrap, group=stage.spec.name, around=dying)
        await crashed.start()
        await sent_once.wait()
        assert isinstance(await crashed.wait_crashed(), RuntimeError)
        await crashed.stop()
        back = relay_app(publisher, kafka_bootstrap, group=stage.spec.name)
        app = stage_app(stage, publisher, settings(kafka_bootstrap))
        await asyncio.gather(app.start(), back.start())
        try:

            async def all_three() -> bool:
                return len(stage.places) == 3

            await wait_for(all_three)
            await read(kafka_bootstrap, REPLIES.name, {str(sent.key)})
        finally:
            await asyncio.gather(app.stop(), back.stop())
    await redis.aclose()
    assert stage.calls == 1


async def test_no_rebalance_waits_for_the_relay(kafka_bootstrap: str) -> None:
    """What only waits is handed back at once, and the next member has it."""
    sent, group = request("hello"), uuid.uuid4().hex[:8]
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        at = await aside(publisher, sent, not_before_ms=int(time.time() * 1000) + 25_000)
        holder = relay_app(publisher, kafka_bootstrap, group=group, drain_timeout_s=55)
        await holder.start()

        async def holds_it() -> bool:
            return any(work.allowed_s > 5 for work in holder.view().in_flight)

        await wait_for(holds_it)
        async with asyncio.timeout(15):  # far below both the drain's time-out and the record's time
            await holder.stop()
        assert holder.view().counts.handed_back >= 1
        later = relay_app(publisher, kafka_bootstrap, group=group, clock=lambda: time.time() + 60)
        relayed = await end_of(publisher, kafka_bootstrap, later)
    assert f"{at.topic}:{at.partition}:{at.offset}" in relayed


async def end_of(publisher: Publisher, bootstrap: str, app: StageApp) -> set[str]:
    """Run a relay until it has nothing left; return which first records it has brought back."""
    found: set[str] = set()
    run = app._run

    async def noted(record: Record, work: RecordWork) -> bool:
        done = await run(record, work)
        found.add(redelivery(record.headers).record or "")
        return done

    app._run = noted
    await app.start()

    async def idle() -> bool:
        view = app.view()
        return bool(view.partitions) and bool(found) and not view.in_flight and view.lag == 0

    await wait_for(idle)
    await app.stop()
    return found


class DeadlineStage(EchoStage):
    """Tells the envelope's deadline and number."""

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        made = open_envelope(
            delivery.record,
            delivery.event,
            reply_to=ReplyAddress(topic=REPLIES.name),
            default_deadline_ms=60_000,
        )
        text = f"{int(made.deadline_at.timestamp() * 1000)} {made.replay} {made.request_id}"
        reply = Reply(request_id=made.request_id, status=Status.ANSWERED, content=text)
        return (Emit.to(REPLIES, reply, key=made.request_id),)


async def test_a_replay_has_a_fresh_deadline(kafka_bootstrap: str) -> None:
    """A day later, with the time that the request had; and the id that its first record gave it."""
    died = f"{REQUESTS.name}:1:{uuid.uuid4().int % 10**12 + 10**12}"
    now_ms = int(time.time() * 1000)
    headers = replayed((), record=died, timestamp_ms=now_ms - 86_400_000, at_ms=now_ms)
    body = ChatRequested(user_id="u", query="hello", deadline_ms=5_000)
    stage = DeadlineStage(uuid.uuid4().hex[:8])
    request_id = died.replace(":", "-")
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        await publisher.publish(Emit(topic=REQUESTS.name, key=None, value=encode(body), headers=headers))
        app = stage_app(stage, publisher, settings(kafka_bootstrap))
        await app.start()
        try:
            replies = await read(kafka_bootstrap, REPLIES.name, {request_id})
        finally:
            await app.stop()
    assert f"{now_ms + 5_000} 1 {request_id}".encode() in replies[request_id]


async def test_strangers_headers_stop_nothing(kafka_bootstrap: str) -> None:
    """Whatever they write on the requests topic or the retry topic, the next record is served."""
    absurd: tuple[Any, ...] = (
        (("__streams.origin.record", b"\xff"), ("__streams.retry.attempt", b"-1")),
        (("__streams.origin.record", b"llm.requests.v1:0:" + b"9" * 5_000),),
        (("__streams.origin.record", b"llm.requests.v1:999999:1"), ("__streams.replay.number", b"9" * 15)),
        (("__streams.origin.record", b"llm.retries.v1:0:1"), ("__streams.retry.not-before", b"9" * 15)),
        (("__streams.origin.record", b"llm.ledger.v1:0:1"),),
        (
            ("__streams.origin.record", b"llm.requests.v1:0:1"),
            ("__streams.origin.timestamp", b"9" * 15),
            ("__streams.replay.number", b"3"),
            ("__streams.replay.at", b"9" * 15),
        ),
    )
    stage = EchoStage(uuid.uuid4().hex[:8])
    stage.release_slow.set()
    last, body = request("fast"), ChatRequested(user_id="u", query="fast")
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        for topic in (REQUESTS.name, RETRIES.name):
            for headers in absurd:
                key = uuid.uuid4().hex
                await publisher.publish(Emit(topic=topic, key=key, value=encode(body), headers=headers))
        app = stage_app(stage, publisher, settings(kafka_bootstrap))
        back = relay_app(publisher, kafka_bootstrap, group=stage.spec.name, clock=lambda: time.time() + 60)
        await asyncio.gather(app.start(), end_of(publisher, kafka_bootstrap, back))
        try:
            await publisher.publish(last)
            await read(kafka_bootstrap, REPLIES.name, {str(last.key)})
        finally:
            await app.stop()

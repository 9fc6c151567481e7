"""The relay over records of the retry topic, with a publisher and a clock that do as they are told."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents.runner.dead_letters import DeadLetters
from agents.runner.in_flight import RecordWork
from agents.runner.relay import Drain, Relay
from agents.stage import Record
from streams.codec import encode
from streams.errors import KafkaUnavailable, RecordTooLarge, UnknownTopic
from streams.events import RequestGuarded
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import STAGE_SOURCES, TOPICS
from streams.publisher import Emit
from streams.redelivery import put_aside
from streams.topics import (
    DEAD_LETTERS,
    GUARDED,
    OUTCOMES,
    REPLIES,
    REQUESTS,
    RETRIES,
)
from tests.agents.runner.runs import Sends
from tests.fakes.envelopes import NOW_MS, envelope
from tests.fakes.records import read_record


class Relaying:
    """A relay, what it waited for, and what it sent."""

    def __init__(
        self,
        *,
        stays: bool = True,
        refuse: Callable[[Emit, int], Exception | None] = lambda emit, tries: None,
    ) -> None:
        self.waited: list[float] = []
        self.stays = stays
        self.sends = Sends([], refuse)
        dead_letters = DeadLetters(reply_topics=(), default_deadline_ms=1_000)
        self.relay = Relay(
            self.sends,
            dead_letters,
            wait=self._wait,
            max_delay_s=10,
            clock=lambda: NOW_MS / 1000,
        )

    async def _wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return self.stays

    async def __call__(self, record: Record) -> tuple[bool, RecordWork]:
        work = RecordWork(record.place, 0.0)
        return await self.relay.run(record, work), work


def waiting(topic: str = GUARDED.name, *, not_before_ms: int = NOW_MS + 4_000, **fields: Any) -> Record:
    first = Record(
        topic=topic,
        partition=3,
        offset=7,
        timestamp_ms=NOW_MS - 1,
        key=b"r-1",
        value=encode(RequestGuarded(envelope=envelope())),
        headers=(("x", b"1"), ("x", b"2")),
    )
    headers = put_aside(first, not_before_ms=not_before_ms, reason="redis")
    given: dict[str, Any] = {
        "topic": RETRIES.name,
        "partition": 0,
        "offset": 1,
        "timestamp_ms": NOW_MS,
        "key": first.key,
        "value": first.value,
        "headers": headers,
    }
    return read_record(**given | fields)


@pytest.mark.parametrize("topic", STAGE_SOURCES)
async def test_a_record_goes_back_to_where_it_came_from_when_its_time_has_come(topic: str) -> None:
    """To the partition that it had, byte for byte, with the headers that say which record it stands for."""
    relaying, given = Relaying(), waiting(topic)
    done, work = await relaying(given)
    (sent,) = relaying.sends.sent
    assert done
    assert (sent.topic, sent.partition, sent.key, sent.value, sent.headers) == (
        topic,
        3,
        given.key,
        given.value,
        given.headers,
    )
    assert (relaying.waited, work.allowed_s, work.is_dead) == ([4.0], 4.0, False)


@pytest.mark.parametrize(
    ("not_before_ms", "waited"),
    [(NOW_MS, []), (0, []), (NOW_MS + 1_500, [1.5]), (10**15 - 1, [10.0])],
)
async def test_it_is_held_no_longer_than_any_record_may_be(not_before_ms: int, waited: list[float]) -> None:
    """Whatever the header says: a slot is not held for a century."""
    relaying = Relaying()
    await relaying(waiting(not_before_ms=not_before_ms))
    assert relaying.waited == waited


async def test_a_copy_that_headrace_did_not_write_goes_nowhere() -> None:
    """Whoever may write to the retry topic could write to every stage's otherwise, in Headrace's name."""
    auth, relaying = RecordAuth([b"k" * 32]), Relaying()
    await relaying(waiting(auth=auth))
    assert [sent.topic for sent in relaying.sends.sent] == [DEAD_LETTERS.name]
    ours = waiting()
    signed = auth.signed(RETRIES.name, ours.key, ours.value, ours.headers)
    await relaying(waiting(headers=signed, auth=auth))
    assert [sent.topic for sent in relaying.sends.sent] == [DEAD_LETTERS.name, GUARDED.name]


async def test_a_rebalance_does_not_wait_for_it() -> None:
    """Nothing is sent, and it is not done: it will be delivered again."""
    relaying = Relaying(stays=False)
    done, _ = await relaying(waiting())
    assert (done, relaying.sends.sent) == (False, [])


@pytest.mark.parametrize(
    "headers",
    [
        (),
        *(
            (("__streams.origin.record", f"{topic.name}:0:1".encode()),)
            for topic in TOPICS.values()
            if topic.name not in STAGE_SOURCES
        ),
        (("__streams.origin.record", b"orders:0:1"),),
        (("__streams.origin.record", b"llm.requests.v1"),),
    ],
)
async def test_only_stages_get_records_back(headers: tuple[tuple[str, bytes], ...]) -> None:
    """Anybody may write headers; the ledger, the retry topic and strangers' topics are no stage's input."""
    relaying, given = Relaying(), waiting(headers=headers)
    done, work = await relaying(given)
    (letter,) = relaying.sends.sent
    assert (done, work.is_dead) == (True, True)
    assert (letter.topic, letter.value) == (DEAD_LETTERS.name, given.value)
    assert dict(letter.headers)["__streams.errors.topic"] == RETRIES.name.encode()


async def test_a_partition_that_is_not_there_is_left_to_the_key() -> None:
    """A stranger's headers named it."""
    relaying = Relaying(refuse=lambda emit, tries: UnknownTopic("no") if emit.partition is not None else None)
    await relaying(waiting())
    assert [(emit.topic, emit.partition) for emit in relaying.sends.sent] == [(GUARDED.name, None)]


async def test_a_broker_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is acknowledged before the copy is."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    relaying = Relaying(refuse=lambda emit, tries: KafkaUnavailable("away") if tries < 4 else None)
    relaying.relay._sender.sleep = sleep
    done, _ = await relaying(waiting())
    assert (done, len(relaying.sends.sent), len(slept)) == (True, 1, 3)


async def test_what_cannot_be_brought_back_is_a_dead_letter_and_its_sender_is_told() -> None:
    """As the stage itself would have done."""
    relaying = Relaying(
        refuse=lambda emit, tries: RecordTooLarge("9 MB") if emit.topic == GUARDED.name else None,
    )
    _, work = await relaying(waiting())
    letter, told = relaying.sends.sent
    outcome: Any = told.value
    assert (letter.topic, told.topic, work.is_dead) == (DEAD_LETTERS.name, OUTCOMES.name, True)
    assert (outcome.envelope.request_id, outcome.error.code) == ("r-1", "internal_error")
    assert dict(letter.headers)["__streams.origin.record"] == b"llm.guarded.v1:3:7"


async def test_garbage_that_cannot_be_brought_back_is_told_about_where_an_id_can_be_read() -> None:
    """A request that nobody understood gets its reply straight away."""
    relaying = Relaying(
        refuse=lambda emit, tries: RecordTooLarge("9 MB") if emit.topic == REQUESTS.name else None,
    )
    await relaying(waiting(REQUESTS.name, value=b"\xff"))
    assert [emit.topic for emit in relaying.sends.sent] == [DEAD_LETTERS.name, REPLIES.name]


async def test_a_drain_ends_all_waiting_until_there_is_a_new_assignment() -> None:
    """What begins to wait during the drain does not even begin."""
    drain = Drain()
    waits = [asyncio.ensure_future(drain.wait(3600)) for _ in range(3)]
    await asyncio.sleep(0)
    drain.begin()
    assert await asyncio.gather(*waits) == [False, False, False]
    assert not await drain.wait(0)
    drain.end()
    assert await drain.wait(0)

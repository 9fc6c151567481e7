"""Dead letters and their actions on real topics, and an operator's work on them."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from headrace.ops.dlq.actions import ActionOutcome, ActionResult, DeadLetterActions
from headrace.ops.dlq.letters import LetterId, LetterStatus
from headrace.ops.dlq.reader import DeadLetterReader, LetterFilters
from headrace.ops.topic_reader import TopicReader
from streams.errors import KafkaUnavailable
from streams.publisher import Emit, Position, Publisher
from streams.redelivery import redelivery
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS
from tests.headrace.ops.dlq.dead_letter_records import buried, record

pytestmark = pytest.mark.integration


@pytest.fixture
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    async with Publisher(kafka_bootstrap, client_id="test") as made:
        yield made


@pytest.fixture
async def letters(kafka_bootstrap: str) -> AsyncIterator[DeadLetterReader]:
    async with TopicReader(kafka_bootstrap, client_id="test", timeout_s=10.0) as topics:
        yield DeadLetterReader(topics)


@pytest.fixture
def marker() -> str:
    """A request id that no other test uses: the broker is shared."""
    return f"dlq-{uuid.uuid4().hex}"


async def bury(publisher: Publisher, marker: str, *, stage: str = "guardrail") -> LetterId:
    """Write a dead letter as the runner does."""
    sent = await publisher.publish(buried(record(b"\x00\xff", key=marker.encode()), stage=stage))
    return LetterId(sent.partition, sent.offset)


async def state_of(letters: DeadLetterReader, place: LetterId) -> LetterStatus:
    return (await letters.states(lambda other: other == place)).of(place).status


async def replay(desk: DeadLetterActions, *places: LetterId, force: bool = False) -> list[ActionResult]:
    return [each async for each in desk.replay(places, force=force, max_replays=3)]


async def test_letters_are_found_by_what_is_known_of_them(
    publisher: Publisher,
    letters: DeadLetterReader,
    marker: str,
) -> None:
    """The newest first to be kept, the oldest first to be shown."""
    places = [await bury(publisher, marker, stage=stage) for stage in ("guardrail", "llm", "guardrail")]
    everything = await letters.select(LetterFilters(request_id=marker), limit=10)
    assert [each.letter.letter_id for each in everything.letters()] == places
    some = await letters.select(LetterFilters(request_id=marker, stage="guardrail"), limit=1)
    assert ([each.letter.letter_id for each in some.letters()], some.matched) == ([places[2]], 2)
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert (await letters.select(LetterFilters(since=soon), limit=10)).matched == 0
    lately = datetime.now(UTC) - timedelta(hours=1)
    assert (await letters.select(LetterFilters(request_id=marker, since=lately), limit=10)).matched == 3


async def test_a_letter_is_read_byte_for_byte(
    publisher: Publisher,
    letters: DeadLetterReader,
    marker: str,
) -> None:
    """Key, value and headers as they were sent."""
    place = await bury(publisher, marker)
    found = await letters.find(place)
    assert found is not None
    sent = buried(record(b"\x00\xff", key=marker.encode()))
    assert (found.key, found.value, found.headers) == (sent.key, sent.value, sent.headers)


async def test_records_with_odd_headers_are_listed_like_others(
    kafka_bootstrap: str,
    letters: DeadLetterReader,
) -> None:
    """Anybody may write to the topic, and a null header is none that fails."""
    odd = (
        ("__streams.errors.stage", None),
        ("__streams.errors.partition", b"x"),
        ("", b""),
        ("ce_id", b"\xff"),
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    async with producer:
        batch = producer.create_batch()  # aiokafka's own `send` wants a key or a value; others do not
        batch.append(key=None, value=None, timestamp=1, headers=list(odd))
        batch.close()
        sent = await (await producer.send_batch(batch, DEAD_LETTERS.name, partition=0))
    selection = await letters.select(LetterFilters(), limit=100_000)
    assert LetterId(sent.partition, sent.offset) in [each.letter.letter_id for each in selection.letters()]


async def test_a_replay_reaches_the_stage_and_is_on_the_trail(
    kafka_bootstrap: str,
    publisher: Publisher,
    letters: DeadLetterReader,
    marker: str,
) -> None:
    """It lies on the topic where the record died; the letter is replayed, by whom and why."""
    place = await bury(publisher, marker)
    desk = DeadLetterActions(letters, publisher, by="ann", reason="mended")
    (result,) = await replay(desk, place)
    assert result.outcome is ActionOutcome.REPLAYED
    assert result.sent_to is not None
    async with TopicReader(kafka_bootstrap, client_id="test", timeout_s=10.0) as topics:
        copy = await topics.record_at("llm.requests.v1", result.sent_to.partition, result.sent_to.offset)
    assert copy is not None
    assert (copy.key, copy.value) == (marker.encode(), b"\x00\xff")
    assert copy.headers[:2] == record().headers
    again = redelivery(copy.headers)
    assert (again.record, again.replay) == ("llm.requests.v1:2:41", 1)
    assert await state_of(letters, place) is LetterStatus.REPLAYED
    (action,) = await letters.history(place)
    assert (action.by, action.reason, action.request_id) == ("ann", "mended", marker)
    (result,) = await replay(desk, place)
    assert result.outcome is ActionOutcome.REFUSED


async def test_a_crash_before_the_action_repeats_the_replay_under_its_number(
    kafka_bootstrap: str,
    publisher: Publisher,
    letters: DeadLetterReader,
    marker: str,
) -> None:
    """Two copies lie on the topic, and say the same of themselves: the stages know the second by it."""

    class Dies(Publisher):
        """Sends the replay, and dies before it can record it."""

        async def publish(self, emit: Emit) -> Position:
            if emit.topic == DEAD_LETTER_ACTIONS.name:
                raise KafkaUnavailable("killed")
            return await publisher.publish(emit)

    place = await bury(publisher, marker)
    (first,) = await replay(
        DeadLetterActions(letters, Dies(kafka_bootstrap, client_id="test"), by="ann", reason=""), place
    )
    assert first.outcome is ActionOutcome.FAILED
    assert await state_of(letters, place) is LetterStatus.OPEN
    (second,) = await replay(DeadLetterActions(letters, publisher, by="ann", reason=""), place)
    assert second.outcome is ActionOutcome.REPLAYED
    copies = []
    async with TopicReader(kafka_bootstrap, client_id="test", timeout_s=10.0) as topics:
        for each in (first, second):
            assert each.sent_to is not None
            copies.append(
                await topics.record_at("llm.requests.v1", each.sent_to.partition, each.sent_to.offset),
            )
    known = [redelivery(copy.headers) for copy in copies if copy is not None]
    assert [(each.record, each.replay) for each in known] == [("llm.requests.v1:2:41", 1)] * 2
    assert first.sent_to is not None
    assert second.sent_to is not None
    assert first.sent_to.partition == second.sent_to.partition


async def test_a_discarded_letter_stays_and_is_no_longer_open(
    publisher: Publisher,
    letters: DeadLetterReader,
    marker: str,
) -> None:
    """LetterFilters find it by its state; the bytes are still there."""
    place = await bury(publisher, marker)
    desk = DeadLetterActions(letters, publisher, by="ann", reason="a typing error")
    assert [each.outcome async for each in desk.discard([place])] == [ActionOutcome.DISCARDED]
    assert (
        await letters.select(LetterFilters(request_id=marker, status=LetterStatus.OPEN), limit=9)
    ).matched == 0
    assert (
        await letters.select(LetterFilters(request_id=marker, status=LetterStatus.DISCARDED), limit=9)
    ).matched == 1
    assert await letters.find(place) is not None
    (result,) = await replay(desk, place, force=True)
    assert result.outcome is ActionOutcome.REPLAYED
    assert [each.action for each in await letters.history(place)] == ["discarded", "replayed"]


async def test_actions_that_are_none_are_passed_over(
    kafka_bootstrap: str,
    publisher: Publisher,
    letters: DeadLetterReader,
    marker: str,
) -> None:
    """Rubbish on the trail does not keep an operator from working."""
    place = await bury(publisher, marker)
    for value in (b"\xff", None, b'{"dead_letter": "nonsense"}'):
        await publisher.publish(Emit(topic=DEAD_LETTER_ACTIONS.name, key=str(place), value=value))
    assert await state_of(letters, place) is LetterStatus.OPEN
    assert await letters.history(place) == ()
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap)
    await consumer.start()
    ends = await consumer.end_offsets([TopicPartition(DEAD_LETTER_ACTIONS.name, n) for n in range(4)])
    await consumer.stop()
    assert sum(ends.values()) >= 3

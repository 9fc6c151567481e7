"""Replays and discards, carried out."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from agents.stage import Record
from headrace.ops.dlq.actions import ActionOutcome, ActionResult, DeadLetterActions
from headrace.ops.dlq.letters import LetterId, LetterStates
from headrace.ops.dlq.reader import DeadLetterReader
from streams.errors import KafkaUnavailable, RecordTooLarge, UnknownTopic
from streams.events import DeadLetterAction, LedgerEntry
from streams.publisher import Emit, Position, Publisher
from streams.redelivery import redelivery
from tests.headrace.ops.dlq.dead_letter_records import dead

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class MemoryReader(DeadLetterReader):
    """Dead letters in memory; the actions on them are read from what was sent."""

    def __init__(self, sent: list[Emit], *places: LetterId) -> None:
        self._sent = sent
        self.charged: dict[str, LedgerEntry] = {}
        self._records = {place: dead(letter_id=place) for place in places}

    async def find(self, place: LetterId) -> Record | None:
        return self._records.get(place)

    async def charges(self, places: Sequence[LetterId]) -> Mapping[str, LedgerEntry]:
        return self.charged

    async def states(self, wanted: Callable[[LetterId], bool]) -> LetterStates:
        states = LetterStates(wanted)
        for emit in self._sent:
            if isinstance(emit.value, DeadLetterAction):
                states.add(emit.value)
        return states


class MemoryPublisher(Publisher):
    """Acknowledges what it is given, until it is told to fail."""

    def __init__(self) -> None:
        self.sent: list[Emit] = []
        self.faults: dict[int, Exception] = {}

    async def publish(self, emit: Emit) -> Position:
        fault = self.faults.pop(len(self.sent), None)
        if fault is not None:
            raise fault
        self.sent.append(emit)
        return Position(emit.topic, 0, len(self.sent))


A, B, C = LetterId(0, 1), LetterId(0, 2), LetterId(1, 1)


def desk(
    publisher: MemoryPublisher, *places: LetterId, dry_run: bool = False, charged: LedgerEntry | None = None
) -> DeadLetterActions:
    reader = MemoryReader(publisher.sent, *(places or (A, B, C)))
    if charged is not None:
        reader.charged[charged.request_id] = charged
    return DeadLetterActions(
        reader, None if dry_run else publisher, by="ann", reason="why", clock=lambda: NOW
    )


async def replay(
    at: DeadLetterActions, *places: LetterId, force: bool = False, pay_again: bool = False
) -> list[ActionResult]:
    results = at.replay(places, force=force, max_replays=3, pay_again=pay_again)
    return [each async for each in results]


async def test_a_replay_is_recorded_once_the_broker_has_it() -> None:
    """First the record, then the action: never an action without a replay."""
    publisher = MemoryPublisher()
    (result,) = await replay(desk(publisher), A)
    assert [emit.topic for emit in publisher.sent] == ["llm.requests.v1", "llm.dead-letter-actions.v1"]
    assert (result.outcome, result.number, result.sent_to) == (
        ActionOutcome.REPLAYED,
        1,
        Position("llm.requests.v1", 0, 1),
    )


async def test_what_was_charged_is_not_paid_for_again_unasked() -> None:
    """Refused with the amount; what this very replay was charged is no hindrance to sending it once more."""
    publisher = MemoryPublisher()
    charged = LedgerEntry(
        entry_id="r-1:settle",
        request_id="r-1",
        tenant="default",
        user_id="u",
        kind="settle",
        amount_usd=Decimal("0.638256750"),
        booked_at=NOW,
    )
    (result,) = await replay(desk(publisher, charged=charged), A)
    assert (result.outcome, publisher.sent) == (ActionOutcome.REFUSED, [])
    assert "0.63825675 USD" in result.detail
    assert "--pay-again" in result.detail
    (result,) = await replay(desk(publisher, charged=charged), A, pay_again=True)
    assert result.outcome is ActionOutcome.REPLAYED
    publisher.sent.clear()
    (result,) = await replay(desk(publisher, charged=msgspec.structs.replace(charged, replay=1)), A)
    assert (result.outcome, result.number) == (ActionOutcome.REPLAYED, 1)


async def test_a_replay_that_was_not_recorded_is_repeated_under_the_same_number() -> None:
    """The letter is still open; what is sent a second time is the very same record."""
    publisher = MemoryPublisher()
    publisher.faults[1] = KafkaUnavailable("gone")
    (result,) = await replay(desk(publisher), A)
    assert result.outcome is ActionOutcome.FAILED
    assert "no harm" in result.detail
    (result,) = await replay(desk(publisher), A)
    assert result.outcome is ActionOutcome.REPLAYED
    first, second, _ = publisher.sent
    assert first == second
    assert redelivery(second.headers).replay == 1


async def test_once_kafka_does_not_answer_the_rest_is_left_alone() -> None:
    """A thousand letters do not wait for a thousand time-outs."""
    publisher = MemoryPublisher()
    publisher.faults[2] = KafkaUnavailable("gone")
    results = await replay(desk(publisher), A, B, C)
    assert [each.outcome for each in results] == [
        ActionOutcome.REPLAYED,
        ActionOutcome.FAILED,
        ActionOutcome.FAILED,
    ]
    assert "not tried" in results[2].detail
    assert len(publisher.sent) == 2


async def test_a_letter_that_cannot_be_sent_does_not_hold_up_the_others() -> None:
    """It fails alone, and is not recorded."""
    publisher = MemoryPublisher()
    publisher.faults[0] = RecordTooLarge("9 MB")
    results = await replay(desk(publisher), A, B)
    assert [each.outcome for each in results] == [ActionOutcome.FAILED, ActionOutcome.REPLAYED]


async def test_a_partition_that_is_gone_is_no_reason_to_fail() -> None:
    """The topic was made anew with fewer: the key knows a partition."""
    publisher = MemoryPublisher()
    publisher.faults[0] = UnknownTopic("no partition 2")
    (result,) = await replay(desk(publisher), A)
    assert result.outcome is ActionOutcome.REPLAYED
    assert publisher.sent[0].partition is None


async def test_the_same_letter_named_twice_is_replayed_once() -> None:
    """A slip of the pen is no second charge."""
    publisher = MemoryPublisher()
    assert len(await replay(desk(publisher), A, A)) == 1


async def test_a_missing_letter_is_said_to_be_missing() -> None:
    """It has expired, or never was; the others are replayed."""
    publisher = MemoryPublisher()
    results = await replay(desk(publisher, B), A, B)
    assert [each.outcome for each in results] == [ActionOutcome.MISSING, ActionOutcome.REPLAYED]


async def test_a_dry_run_sends_nothing_and_says_what_it_would() -> None:
    """With the same refusals as the real one."""
    publisher = MemoryPublisher()
    await replay(desk(publisher), A)
    before = len(publisher.sent)
    results = await replay(desk(publisher, dry_run=True), A, B)
    assert [each.outcome for each in results] == [ActionOutcome.REFUSED, ActionOutcome.WOULD_REPLAY]
    discards = [each async for each in desk(publisher, dry_run=True).discard([A, B])]
    assert [each.outcome for each in discards] == [ActionOutcome.REFUSED, ActionOutcome.WOULD_DISCARD]
    assert len(publisher.sent) == before


async def test_forced_replays_go_on_until_the_cap() -> None:
    """Each has its own number; at the cap even force ends."""
    publisher = MemoryPublisher()
    outcomes = [(await replay(desk(publisher), A, force=True))[0] for _ in range(4)]
    assert [each.number for each in outcomes] == [1, 2, 3, None]
    assert outcomes[3].outcome is ActionOutcome.REFUSED


async def test_a_discard_is_an_action_and_nothing_else() -> None:
    """The record stays where it is; a second discard is refused."""
    publisher = MemoryPublisher()
    assert [each.outcome async for each in desk(publisher).discard([A])] == [ActionOutcome.DISCARDED]
    (emit,) = publisher.sent
    assert isinstance(emit.value, DeadLetterAction)
    assert (emit.value.action, emit.value.by, emit.value.reason) == ("discarded", "ann", "why")
    assert [each.outcome async for each in desk(publisher).discard([A])] == [ActionOutcome.REFUSED]
    assert (await replay(desk(publisher), A))[0].outcome is ActionOutcome.REFUSED


async def test_actions_keep_to_the_rate() -> None:
    """The first goes at once, each of the others after a pause."""
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    publisher = MemoryPublisher()
    reader = MemoryReader(publisher.sent, A, B, C)
    actions = DeadLetterActions(reader, publisher, by="ann", reason="", rate=4, sleep=sleep)
    assert len(await replay(actions, A, B, C)) == 3
    assert slept == [0, 0.25, 0.25]

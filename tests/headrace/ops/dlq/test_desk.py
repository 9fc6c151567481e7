"""Replays and discards, carried out."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from headrace.ops.dlq.desk import Desk, Outcome, Pace, Result
from headrace.ops.dlq.letters import DeadRecord, Letter, Place, letter_of
from headrace.ops.dlq.standing import Standings
from streams.errors import KafkaUnavailable, RecordTooLarge, UnknownTopic
from streams.events import DeadLetterAction, LedgerEntry
from streams.publisher import Emit, Position
from streams.redelivery import redelivery
from tests.headrace.ops.dlq.made import dead

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Shelf:
    """Dead letters in memory; the actions on them are read from what was sent."""

    def __init__(self, sent: list[Emit], *places: Place) -> None:
        self._sent = sent
        self.charged: dict[str, LedgerEntry] = {}
        self._records = {place: dead(place=place) for place in places}

    async def find(self, place: Place) -> tuple[DeadRecord, Letter] | None:
        found = self._records.get(place)
        return (found, letter_of(found)) if found else None

    async def charges(self, places: Sequence[Place]) -> Mapping[str, LedgerEntry]:
        return self.charged

    async def standings(self, wanted: Callable[[Place], bool]) -> Standings:
        standings = Standings(wanted)
        for emit in self._sent:
            if isinstance(emit.value, DeadLetterAction):
                standings.add(emit.value)
        return standings


class Wire:
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


A, B, C = Place(0, 1), Place(0, 2), Place(1, 1)


def desk(wire: Wire, *places: Place, dry_run: bool = False, charged: LedgerEntry | None = None) -> Desk:
    shelf = Shelf(wire.sent, *(places or (A, B, C)))
    if charged is not None:
        shelf.charged[charged.request_id] = charged
    return Desk(shelf, None if dry_run else wire, by="ann", reason="why", clock=lambda: NOW)


async def replay(at: Desk, *places: Place, force: bool = False, pay_again: bool = False) -> list[Result]:
    results = at.replay(places, force=force, max_replays=3, pay_again=pay_again)
    return [each async for each in results]


async def test_a_replay_is_recorded_once_the_broker_has_it() -> None:
    """First the record, then the action: never an action without a replay."""
    wire = Wire()
    (result,) = await replay(desk(wire), A)
    assert [emit.topic for emit in wire.sent] == ["llm.requests.v1", "llm.dead-letter-actions.v1"]
    assert (result.outcome, result.number, result.sent_to) == (
        Outcome.REPLAYED,
        1,
        Position("llm.requests.v1", 0, 1),
    )


async def test_what_was_charged_is_not_paid_for_again_unasked() -> None:
    """Refused with the amount; what this very replay was charged is no hindrance to sending it once more."""
    wire = Wire()
    charged = LedgerEntry(
        entry_id="r-1:settle",
        request_id="r-1",
        tenant="default",
        user_id="u",
        kind="settle",
        amount_usd=Decimal("0.638256750"),
        booked_at=NOW,
    )
    (result,) = await replay(desk(wire, charged=charged), A)
    assert (result.outcome, wire.sent) == (Outcome.REFUSED, [])
    assert "0.63825675 USD" in result.detail
    assert "--pay-again" in result.detail
    (result,) = await replay(desk(wire, charged=charged), A, pay_again=True)
    assert result.outcome is Outcome.REPLAYED
    wire.sent.clear()
    (result,) = await replay(desk(wire, charged=msgspec.structs.replace(charged, replay=1)), A)
    assert (result.outcome, result.number) == (Outcome.REPLAYED, 1)


async def test_a_replay_that_was_not_recorded_is_repeated_under_the_same_number() -> None:
    """The letter is still open; what is sent a second time is the very same record."""
    wire = Wire()
    wire.faults[1] = KafkaUnavailable("gone")
    (result,) = await replay(desk(wire), A)
    assert result.outcome is Outcome.FAILED
    assert "no harm" in result.detail
    (result,) = await replay(desk(wire), A)
    assert result.outcome is Outcome.REPLAYED
    first, second, _ = wire.sent
    assert first == second
    assert redelivery(second.headers).replay == 1


async def test_once_kafka_does_not_answer_the_rest_is_left_alone() -> None:
    """A thousand letters do not wait for a thousand time-outs."""
    wire = Wire()
    wire.faults[2] = KafkaUnavailable("gone")
    results = await replay(desk(wire), A, B, C)
    assert [each.outcome for each in results] == [Outcome.REPLAYED, Outcome.FAILED, Outcome.FAILED]
    assert "not tried" in results[2].detail
    assert len(wire.sent) == 2


async def test_a_letter_that_cannot_be_sent_does_not_hold_up_the_others() -> None:
    """It fails alone, and is not recorded."""
    wire = Wire()
    wire.faults[0] = RecordTooLarge("9 MB")
    results = await replay(desk(wire), A, B)
    assert [each.outcome for each in results] == [Outcome.FAILED, Outcome.REPLAYED]


async def test_a_partition_that_is_gone_is_no_reason_to_fail() -> None:
    """The topic was made anew with fewer: the key knows a partition."""
    wire = Wire()
    wire.faults[0] = UnknownTopic("no partition 2")
    (result,) = await replay(desk(wire), A)
    assert result.outcome is Outcome.REPLAYED
    assert wire.sent[0].partition is None


async def test_the_same_letter_named_twice_is_replayed_once() -> None:
    """A slip of the pen is no second charge."""
    wire = Wire()
    assert len(await replay(desk(wire), A, A)) == 1


async def test_a_missing_letter_is_said_to_be_missing() -> None:
    """It has expired, or never was; the others are replayed."""
    wire = Wire()
    results = await replay(desk(wire, B), A, B)
    assert [each.outcome for each in results] == [Outcome.MISSING, Outcome.REPLAYED]


async def test_a_dry_run_sends_nothing_and_says_what_it_would() -> None:
    """With the same refusals as the real one."""
    wire = Wire()
    await replay(desk(wire), A)
    before = len(wire.sent)
    results = await replay(desk(wire, dry_run=True), A, B)
    assert [each.outcome for each in results] == [Outcome.REFUSED, Outcome.WOULD_REPLAY]
    discards = [each async for each in desk(wire, dry_run=True).discard([A, B])]
    assert [each.outcome for each in discards] == [Outcome.REFUSED, Outcome.WOULD_DISCARD]
    assert len(wire.sent) == before


async def test_forced_replays_go_on_until_the_cap() -> None:
    """Each has its own number; at the cap even force ends."""
    wire = Wire()
    outcomes = [(await replay(desk(wire), A, force=True))[0] for _ in range(4)]
    assert [each.number for each in outcomes] == [1, 2, 3, None]
    assert outcomes[3].outcome is Outcome.REFUSED


async def test_a_discard_is_an_action_and_nothing_else() -> None:
    """The record stays where it is; a second discard is refused."""
    wire = Wire()
    assert [each.outcome async for each in desk(wire).discard([A])] == [Outcome.DISCARDED]
    (emit,) = wire.sent
    assert isinstance(emit.value, DeadLetterAction)
    assert (emit.value.action, emit.value.by, emit.value.reason) == ("discarded", "ann", "why")
    assert [each.outcome async for each in desk(wire).discard([A])] == [Outcome.REFUSED]
    assert (await replay(desk(wire), A))[0].outcome is Outcome.REFUSED


async def test_the_pace_keeps_its_distance() -> None:
    """The first goes at once; after a pause nobody hurries to catch up."""
    now, slept = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        now[0] += seconds

    pace = Pace(4, clock=lambda: now[0], sleep=sleep)
    await pace.turn()
    await pace.turn()
    now[0] += 10
    await pace.turn()
    await pace.turn()
    assert slept == [0.25, 0.25]

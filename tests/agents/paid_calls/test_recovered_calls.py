"""What is booked where the LLM stage itself fails."""

from decimal import Decimal

import pytest

from agents.providers.faults import ConnectionLost
from agents.providers.provider import TextDelta, UsageKnown
from streams.events import Completed, Usage
from tests.agents.llm.fakes import (
    Bench,
    FakeGuard,
    FakeJournal,
    answer,
    delivery,
    missed,
)


class BrokenGuard(FakeGuard):
    """Has a bug that a certain text brings out."""

    def feed(self, chunk: str) -> str:
        if "bug" in chunk:
            raise ZeroDivisionError
        return super().feed(chunk)


def broken(journal: FakeJournal | None = None) -> Bench:
    """A stage whose second call runs into a bug after some text."""
    lost = ConnectionLost("reset")
    lost.billed_usage = Usage(input_tokens=100, output_tokens=4)
    begun = [UsageKnown(Usage(input_tokens=80), "gpt-4o"), TextDelta("Paris is "), TextDelta("a bug")]
    return Bench([[lost], begun], journal=journal, guards=lambda _event: BrokenGuard())


async def test_a_bug_within_a_call_costs_what_had_come() -> None:
    """The failed call before it, and the one that was under way, are in the event."""
    bench, first = broken(), delivery(missed(stream=True))
    with pytest.raises(ZeroDivisionError):
        await bench.stage.handle(first)
    event = await bench.stage.recover_calls(first, ZeroDivisionError())
    assert [call.error for call in event.envelope.calls] == ["connection_lost", "internal_error"]
    assert [call.attempt for call in event.envelope.calls] == [1, 2]
    under_way = event.envelope.calls[1]
    assert under_way.usage.input_tokens == 80
    assert under_way.usage.output_tokens > 0
    assert under_way.cost_usd > 0


async def test_a_replay_books_the_same_again_and_its_own() -> None:
    """Its settlement replaces the former one: what that had booked must be in it, to the last digit."""
    journal = FakeJournal()
    bench, first = broken(journal), delivery(missed(stream=True))
    with pytest.raises(ZeroDivisionError):
        await bench.stage.handle(first)
    recovered = (await bench.stage.recover_calls(first, ZeroDivisionError())).envelope.calls
    (emit,) = await Bench([answer()], journal=journal).stage.handle(delivery(missed(stream=True)))
    assert isinstance(emit.value, Completed)
    assert emit.value.envelope.calls[:2] == recovered
    assert len(emit.value.envelope.calls) == 3


async def test_without_the_journal_what_the_worker_itself_knows_is_booked() -> None:
    """Redis is away, too."""
    journal = FakeJournal()
    bench, first = broken(journal), delivery(missed(stream=True))
    with pytest.raises(ZeroDivisionError):
        await bench.stage.handle(first)
    journal.away_for = {"calls": 1, "end_call": 5}
    event = await bench.stage.recover_calls(first, ZeroDivisionError())
    assert [call.error for call in event.envelope.calls] == ["connection_lost", "internal_error"]


async def test_an_answer_that_cannot_be_sent_is_booked_as_it_is() -> None:
    """The broker refuses the record, as too long for instance: the answer is lost, its price is known."""
    bench, first = Bench([answer()]), delivery()
    (emit,) = await bench.stage.handle(first)
    event = await bench.stage.recover_calls(first, ValueError("too large"))
    assert event.envelope.calls == emit.value.envelope.calls
    assert event.envelope.calls[0].cost_usd == Decimal("0.00035")


async def test_calls_of_a_former_worker_are_recovered_too() -> None:
    """The stage fails before it begins with a record whose former holder made a call."""
    journal = FakeJournal()
    with pytest.raises(KeyboardInterrupt):
        await Bench([KeyboardInterrupt()], journal=journal).stage.handle(delivery())
    event = await Bench([], journal=journal).stage.recover_calls(delivery(), ZeroDivisionError())
    assert [(call.attempt, call.orphaned) for call in event.envelope.calls] == [(1, True)]


async def test_the_calls_of_another_record_are_its_own() -> None:
    """The holder books them; a repeat that fails would book them twice."""
    journal = FakeJournal()
    with pytest.raises(KeyboardInterrupt):
        await Bench([KeyboardInterrupt()], journal=journal).stage.handle(delivery())
    repeat = delivery(offset=8)
    event = await Bench([], journal=journal).stage.recover_calls(repeat, ZeroDivisionError())
    assert event == repeat.event


async def test_a_request_that_was_never_begun_has_nothing_to_recover() -> None:
    """The event comes back as it was."""
    first = delivery()
    assert await Bench().stage.recover_calls(first, ZeroDivisionError()) == first.event


async def test_what_was_delivered_is_forgotten() -> None:
    """A worker keeps no request longer than it has to."""
    bench, first = Bench([answer()]), delivery()
    await bench.stage.handle(first)
    await bench.stage.delivered(first)
    assert not bench.stage._work._open

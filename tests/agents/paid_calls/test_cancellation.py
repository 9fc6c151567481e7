"""The LLM stage and requests that are cancelled: before, between and within their calls."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from decimal import Decimal

import pytest

from agents.providers.faults import ConnectionLost, RateLimited, ServerFault
from agents.providers.provider import TextDelta, UsageKnown
from agents.stores.journal_entries import Lease, LeaseState
from streams.events import Completed, OutcomeReached, Status, Usage
from tests.agents.llm.fakes import (
    HANGS,
    Bench,
    FakeJournal,
    FakeProvider,
    answer,
    at_once,
    delivery,
    missed,
)

CLAUDE = "claude-sonnet-4-20250514"
GPT_INPUT_USD = Decimal("0.0000025")


def cancelling(journal: FakeJournal, script: list[object]) -> FakeProvider:
    """A provider during whose first call the request is cancelled."""
    return FakeProvider(
        "openai", script, before=lambda: journal.cancelled.setdefault("r-1", "client_disconnected")
    )


async def outcome(bench: Bench, **request: object) -> OutcomeReached:
    (emit,) = await bench.stage.handle(delivery(missed(**request)))
    assert isinstance(emit.value, OutcomeReached)
    return emit.value


async def test_a_cancelled_request_is_not_begun() -> None:
    """No call, nothing in the books, and an outcome that says what cancelled it."""
    bench = Bench([answer()])
    bench.journal.cancelled["r-1"] = "cancelled_by_sender"
    event = await outcome(bench)
    assert (event.status, event.envelope.calls, bench.openai.calls) == (Status.CANCELLED, (), [])
    assert event.error is not None
    assert (event.error.type, event.error.code) == ("invalid_request_error", "request_cancelled")
    assert "its sender cancelled it" in event.error.message


async def test_a_streamed_call_is_stopped_and_what_came_is_booked() -> None:
    """The provider's count of the prompt, our own of the text; the stream is closed."""
    journal = FakeJournal()
    stream = [UsageKnown(Usage(input_tokens=90), "gpt-4o-mini"), TextDelta("Paris is the "), HANGS]
    provider = cancelling(journal, [stream])
    bench = Bench(provider, journal=journal, pause=at_once)
    event = await outcome(bench, stream=True)
    assert event.status is Status.CANCELLED
    (call,) = event.envelope.calls
    assert (call.error, call.finish_reason, call.orphaned) == ("cancelled", None, False)
    assert (call.usage.input_tokens, call.usage.output_tokens) == (90, 4)
    assert call.cost_usd == Decimal("0.0000159")  # at the price of the model that answered
    assert call.time_to_first_token_us is not None
    assert provider.closed_streams == 1
    assert journal.entries["r-1"]["ended"] == {1: call}


async def test_a_whole_call_is_stopped_and_its_prompt_is_booked() -> None:
    """Nothing of the answer has come: the prompt, by our own count, is a lower bound."""
    journal = FakeJournal()
    provider = cancelling(journal, [HANGS])
    event = await outcome(Bench(provider, journal=journal, pause=at_once))
    (call,) = event.envelope.calls
    assert (call.error, call.usage.output_tokens, provider.closed_streams) == ("cancelled", 0, 1)
    assert call.cost_usd == call.usage.input_tokens * GPT_INPUT_USD > 0


async def test_what_was_published_is_not_added_to() -> None:
    """The text that the guard leases back stays unsaid."""
    journal = FakeJournal()
    bench = Bench(
        cancelling(journal, [[TextDelta("Paris is the capital"), HANGS]]), journal=journal, pause=at_once
    )
    await outcome(bench, stream=True)
    assert "Paris is the capital".startswith(bench.sink.text)
    assert "capital" not in bench.sink.text


async def test_an_answer_that_is_there_first_counts() -> None:
    """It was paid for: the request ends answered."""
    journal = FakeJournal()
    bench = Bench(cancelling(journal, [answer("Paris")]), journal=journal, pause=at_once)
    (emit,) = await bench.stage.handle(delivery())
    assert isinstance(emit.value, Completed)
    assert emit.value.completion.content == "Paris"


@pytest.mark.parametrize("fault", [ServerFault("boom"), ConnectionLost("reset")])
async def test_a_cancelled_request_is_not_tried_again(fault: Exception) -> None:
    """Neither on the same model nor on the next; the failed call stays in the books."""
    journal = FakeJournal()
    bench = Bench(cancelling(journal, [fault]), [answer()], journal=journal, fallback_models=(CLAUDE,))
    event = await outcome(bench)
    assert event.status is Status.CANCELLED
    assert len(event.envelope.calls) == len(bench.openai.calls) == 1
    assert bench.anthropic.calls == []


async def test_the_wait_before_a_retry_ends_at_once() -> None:
    """Nobody waits ten seconds for a call that will not be made."""
    journal = FakeJournal()
    bench = Bench(cancelling(journal, [RateLimited("slow", retry_after_s=9)]), journal=journal, pause=at_once)

    async def sleep(seconds: float) -> None:
        assert seconds > 9
        await at_once(0)
        await at_once(0)
        await at_once(0)
        raise AssertionError("the wait was not ended")

    bench.clock.sleep = sleep  # type: ignore[method-assign]
    assert (await outcome(bench)).status is Status.CANCELLED


async def test_a_stopped_call_says_nothing_of_the_providers_health() -> None:
    """A threshold of one, and the next request is asked all the same."""
    journal = FakeJournal()
    provider = cancelling(journal, [HANGS, answer()])
    bench = Bench(provider, journal=journal, pause=at_once, breaker_threshold=1)
    await outcome(bench)
    (emit,) = await bench.stage.handle(delivery(missed(request_id="r-2"), offset=8))
    assert isinstance(emit.value, Completed)


async def test_calls_of_former_workers_are_booked_with_a_cancelled_request() -> None:
    """A worker died during its call; when its record comes again the request is cancelled."""
    journal = FakeJournal()
    dying = Bench([KeyboardInterrupt()], journal=journal)
    with pytest.raises(KeyboardInterrupt):
        await dying.stage.handle(delivery())
    journal.cancelled["r-1"] = "cancelled_by_sender"
    event = await outcome(Bench([answer()], journal=journal))
    assert event.status is Status.CANCELLED
    assert [call.orphaned for call in event.envelope.calls] == [True]


async def test_a_journal_that_does_not_answer_stops_no_call() -> None:
    """Whether the request is still wanted is not known: the call goes on, and the next look tells."""
    journal = FakeJournal()
    journal.away_for = {"lease_states": 3}
    provider = cancelling(journal, [HANGS])
    event = await outcome(Bench(provider, journal=journal, pause=at_once))
    assert event.status is Status.CANCELLED
    assert journal.away_for == {"lease_states": 0}


async def test_a_bug_in_the_watch_is_no_silence() -> None:
    """It comes out of the stage, and and its calls are recovered like any other."""
    journal = FakeJournal()

    async def lease_states(leases: object) -> object:
        raise TypeError("a bug")

    journal.lease_states = lease_states  # type: ignore[method-assign]

    class Slow(FakeProvider):
        async def answer(self, call: object) -> AsyncGenerator[object]:
            for _ in range(10):
                await at_once(0)
            async for event in super().answer(call):
                yield event

    bench = Bench(Slow("openai", [answer()]), journal=journal, pause=at_once)
    with pytest.raises(TypeError, match="a bug"):
        await bench.stage.handle(delivery())


async def test_a_look_that_swallows_its_cancellation_leases_nothing_up() -> None:
    """`asyncio.wait_for` of Python 3.11 does that where the result comes at the same time."""
    journal = FakeJournal()
    looks = 0

    async def lease_states(leases: Sequence[Lease]) -> list[LeaseState]:
        nonlocal looks
        looks += 1
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return [LeaseState(held=True) for _ in leases]

    journal.lease_states = lease_states  # type: ignore[assignment, method-assign]

    class Slow(FakeProvider):
        async def answer(self, call: object) -> AsyncGenerator[object]:
            while not looks:
                await at_once(0)
            async for event in super().answer(call):
                yield event

    async with asyncio.timeout(5):
        await Bench(Slow("openai", [answer()]), journal=journal, pause=at_once).stage.handle(delivery())
    assert looks == 1

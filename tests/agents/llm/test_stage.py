"""The LLM stage, with providers that do as they are told and a clock that does not wait."""

import asyncio
from decimal import Decimal

import msgspec
import pytest

from agents.llm.stage import APOLOGY
from agents.paid_calls.paid_work import RETRY_S
from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    ContextTooLong,
    Overloaded,
    ProviderTimeout,
    RateLimited,
    Refused,
    ServerFault,
)
from agents.providers.provider import TextDelta, UsageKnown
from agents.stage import Superseded
from streams.errors import StoreUnavailable
from streams.events import CacheSlot, Completed, OutcomeReached, ReplyAddress, Status, Usage
from streams.topics import COMPLETIONS, DELTAS, OUTCOMES
from tests.agents.llm.fakes import (
    HANGS,
    Bench,
    FakeGuard,
    FakeJournal,
    FakeProvider,
    FakeSink,
    answer,
    at_once,
    delivery,
    missed,
)
from tests.fakes.providers import clients_of

CLAUDE = "claude-sonnet-4-20250514"


async def completed(bench: Bench, event: object = None) -> Completed:
    (emit,) = await bench.stage.handle(delivery(event))
    assert emit.topic == COMPLETIONS.name
    assert isinstance(emit.value, Completed)
    assert emit.key == emit.value.envelope.request_id
    return emit.value


async def outcome(bench: Bench, event: object = None) -> OutcomeReached:
    (emit,) = await bench.stage.handle(delivery(event))
    assert emit.topic == OUTCOMES.name
    assert isinstance(emit.value, OutcomeReached)
    assert emit.key == emit.value.envelope.request_id
    return emit.value


# ── one call ──────────────────────────────────────────────────────────────────────────────────────


async def test_an_answer_becomes_a_completion_with_its_call_in_the_books() -> None:
    """100 tokens in and 10 out of gpt-4o cost 0.00035 dollars."""
    bench = Bench([answer("Hi", model="gpt-4o-2024-08-06")])
    event = await completed(bench)
    assert (event.completion.content, event.completion.provider) == ("Hi", "openai")
    (call,) = event.envelope.calls
    assert call.cost_usd == Decimal("0.000350000")
    assert (call.call_id, call.attempt) == ("call-1", 1)
    assert (call.request_model, call.response_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert (call.finish_reason, call.error) == ("stop", None)


async def test_the_call_carries_the_senders_parameters() -> None:
    """What the sender sets goes to the provider; the user's name does not, but a hash of it does."""
    bench = Bench([answer()], default_temperature=0.3)
    await completed(bench, missed(seed=5, stop=("END",), max_output_tokens=50))
    (call,) = bench.openai.calls
    assert (call.seed, call.stop, call.temperature, call.max_output_tokens) == (5, ("END",), 0.3, 50)
    assert call.user is not None
    assert "u-1" not in call.user
    assert call.input_tokens > 5


async def test_tools_pass_through_and_their_calls_come_back() -> None:
    """The tool loop is the sender's: the completion holds the model's tool calls."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    wanted = {"id": "t-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    bench = Bench([answer("", finish="tool_calls", tool_calls=(wanted,))])
    event = await completed(bench, missed(tools=(tool,), tool_choice="auto"))
    assert bench.openai.calls[0].tools == (tool,)
    assert bench.openai.calls[0].tool_choice == "auto"
    assert event.completion.tool_calls == (wanted,)
    assert event.completion.finish_reason == "tool_calls"


async def test_each_call_is_noted_in_the_journal_before_it_is_made() -> None:
    """A provider is never asked before the journal knows the call's id."""
    journal = FakeJournal()
    noted: list[int] = []
    provider = FakeProvider(
        "openai", [ServerFault("boom"), answer()], before=lambda: noted.append(len(journal.begun))
    )
    await completed(Bench(provider, journal=journal))
    assert noted == [1, 2]
    assert [call.call_id for call in provider.calls] == [call.call_id for call in journal.begun]


# ── retries and fallbacks ─────────────────────────────────────────────────────────────────────────


async def test_a_transient_fault_is_retried_after_a_jittered_wait() -> None:
    """Two faults, waits of 1.5 and 2.5 seconds, three calls in the books, the answer's number is 3."""
    bench = Bench([ServerFault("boom"), Overloaded("busy"), answer()])
    event = await completed(bench)
    assert bench.clock.slept == [1.5, 2.5]
    assert [call.error for call in event.envelope.calls] == ["server_error", "overloaded", None]
    assert [call.attempt for call in event.envelope.calls] == [1, 2, 3]
    assert [call.cost_usd for call in event.envelope.calls[:2]] == [Decimal(0), Decimal(0)]
    assert event.completion.attempt == 3


async def test_retry_after_is_honoured() -> None:
    """4 seconds asked, 4.5 waited."""
    bench = Bench([RateLimited("slow", retry_after_s=4), answer()])
    await completed(bench)
    assert bench.clock.slept == [4.5]


async def test_the_next_model_answers_when_the_first_does_not() -> None:
    """Three tries of the first model, then one of the second, at its own price."""
    bench = Bench([ServerFault("boom")] * 3, [answer(model=CLAUDE)], fallback_models=(CLAUDE,))
    event = await completed(bench)
    assert [call.request_model for call in event.envelope.calls] == ["gpt-4o"] * 3 + [CLAUDE]
    assert event.completion.provider == "anthropic"
    assert event.envelope.calls[-1].cost_usd == Decimal("0.000450000")


@pytest.mark.parametrize(("faults", "kept"), [(0, True), (3, False)])
async def test_only_the_first_models_answer_is_kept_for_the_cache(faults: int, kept: bool) -> None:
    """Whoever asks again asks for that model, and must not get a fallback's answer as its own."""
    slot = CacheSlot(scope="s", exact_key="k", text="What is a headrace?")
    said = [ServerFault("boom")] * faults or [answer()]
    bench = Bench(said, [answer(model=CLAUDE)], fallback_models=(CLAUDE,))
    event = await completed(bench, msgspec.structs.replace(missed(), cache_slot=slot))
    assert (event.cache_slot == slot) is kept


async def test_a_wrong_key_skips_every_model_of_its_provider() -> None:
    """gpt-4o-mini has the same key as gpt-4o, so it is not tried."""
    bench = Bench(
        [AuthenticationFault("bad key")], [answer(model=CLAUDE)], fallback_models=("gpt-4o-mini", CLAUDE)
    )
    event = await completed(bench)
    assert [call.request_model for call in event.envelope.calls] == ["gpt-4o", CLAUDE]


async def test_all_models_failing_gives_the_degraded_answer() -> None:
    """It says that it is degraded and which models failed, and keeps the failed calls in the books."""
    bench = Bench([ServerFault("boom")] * 3, [Overloaded("busy")] * 3, fallback_models=(CLAUDE,))
    event = await outcome(bench)
    assert event.status is Status.DEGRADED
    assert event.completion is not None
    assert event.completion.content == APOLOGY
    assert event.completion.degraded
    assert event.completion.attempt == 7
    assert event.error == event.completion.error
    assert event.error is not None
    assert event.error.code == "all_models_failed"
    assert "gpt-4o: server_error" in event.error.message
    assert len(event.envelope.calls) == 6


async def test_an_installation_without_keys_answers_degraded() -> None:
    """No provider, no call, and still an answer."""
    bench = Bench([], None)
    bench.stage._providers = clients_of({})
    event = await outcome(bench)
    assert event.status is Status.DEGRADED
    assert event.envelope.calls == ()


async def test_a_request_the_provider_refuses_fails_at_once() -> None:
    """Its sender reads the provider's words; no other model is asked."""
    refused = Refused("temperature is too high", code="invalid_value", param="temperature")
    bench = Bench([refused], [answer()], fallback_models=(CLAUDE,))
    event = await outcome(bench)
    assert event.status is Status.FAILED
    assert event.error is not None
    assert (event.error.type, event.error.code) == ("invalid_request_error", "invalid_value")
    assert (event.error.param, event.error.message) == ("temperature", "temperature is too high")
    assert [call.error for call in event.envelope.calls] == ["refused"]


async def test_a_prompt_too_long_for_every_model_is_the_senders_to_shorten() -> None:
    """Where no model takes the prompt, an apology would not help: the error says what does."""
    bench = Bench([ContextTooLong("too long", code="context_length_exceeded", param="messages")])
    event = await outcome(bench)
    assert event.status is Status.FAILED
    assert event.error is not None
    assert event.error.code == "context_length_exceeded"


async def test_a_prompt_larger_than_every_context_window_is_never_sent() -> None:
    """Our own count is enough to say so."""
    bench = Bench([answer()])
    event = await outcome(bench, missed(max_output_tokens=16_000, text="word " * 113_000))
    assert event.error is not None
    assert event.error.code == "context_length_exceeded"
    assert "gpt-4o takes 128000" in event.error.message
    assert bench.openai.calls == []


async def test_an_unknown_model_is_refused_by_name() -> None:
    """The error lists the models there are."""
    event = await outcome(Bench([]), missed(model="gpt-99"))
    assert event.error is not None
    assert (event.error.code, event.error.param) == ("model_not_found", "model")
    assert "gpt-4o-mini" in event.error.message


async def test_an_open_circuit_sends_requests_to_the_next_model_at_once() -> None:
    """After two faults in a row the model is left alone: no call, so nothing in the books."""
    bench = Bench(
        [ServerFault("boom")] * 2,
        [answer(model=CLAUDE)] * 2,
        fallback_models=(CLAUDE,),
        breaker_threshold=2,
    )
    await completed(bench)
    event = await completed(bench, missed(request_id="r-2"))
    assert len(bench.openai.calls) == 2
    assert [call.request_model for call in event.envelope.calls] == [CLAUDE]


# ── deadlines ─────────────────────────────────────────────────────────────────────────────────────


async def test_expired_work_is_not_begun() -> None:
    """The deadline has passed: no call, and an error that says so."""
    bench = Bench([answer()])
    bench.clock.elapsed_s = 61
    event = await outcome(bench)
    assert event.status is Status.FAILED
    assert event.error is not None
    assert (event.error.type, event.error.code) == ("timeout_error", "deadline_exceeded")
    assert bench.openai.calls == []


async def test_timeouts_are_cut_to_the_time_left() -> None:
    """With 12 seconds left no phase may take more than 11, one is for the rest; connecting may take its 5."""
    bench = Bench([answer()])
    await completed(bench, missed(deadline_s=12))
    timeouts = bench.openai.calls[0].timeouts
    assert (timeouts.connect_s, timeouts.first_token_s, timeouts.total_s) == (5, 11, 11)


async def test_the_deadline_ends_retries_and_fallbacks() -> None:
    """A hang that lasts until the deadline leaves no time for another model."""
    bench = Bench([], [answer()], fallback_models=(CLAUDE,))
    hang = FakeProvider(
        "openai",
        [ProviderTimeout("total", after_s=60)],
        before=lambda: setattr(bench.clock, "elapsed_s", 60.0),
    )
    bench.stage.loop._kind.providers = clients_of({"openai": hang, "anthropic": bench.anthropic})
    event = await outcome(bench)
    assert event.error is not None
    assert event.error.code == "deadline_exceeded"
    assert [call.error for call in event.envelope.calls] == ["timeout_total"]
    assert bench.anthropic.calls == []


async def test_an_answer_that_comes_late_is_delivered() -> None:
    """It was paid for, and its sender can fetch it: the deadline is for work that is not begun."""
    bench = Bench()
    late = FakeProvider("openai", [answer("Paris")], before=lambda: setattr(bench.clock, "elapsed_s", 61.0))
    bench.stage.loop._kind.providers = clients_of({"openai": late})
    assert (await completed(bench)).completion.content == "Paris"


@pytest.mark.parametrize(
    ("stream", "deadline_s", "total_s"), [(True, 21_600, 600), (True, 60, 60), (False, 21_600, 30)]
)
async def test_no_answer_may_take_for_ever(stream: bool, deadline_s: float, total_s: float) -> None:
    """A stream that drips on and on ends long before a deadline of six hours does."""
    bench = Bench([answer()])
    await completed(bench, missed(deadline_s=deadline_s, stream=stream))
    assert bench.openai.calls[0].timeouts.total_s == total_s


async def test_a_stored_result_is_sent_under_the_number_of_its_replay() -> None:
    """The worker died before it sent it, and an operator replayed its record."""
    bench = Bench([answer()])
    await bench.stage.handle(delivery())
    event = missed()
    event = msgspec.structs.replace(event, envelope=msgspec.structs.replace(event.envelope, replay=2))
    assert (await completed(bench, event)).envelope.replay == 2
    assert len(bench.openai.calls) == 1


# ── streaming ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_streamed_answer_is_published_in_order_where_its_watcher_reads() -> None:
    """The deltas make up the answer, on the reply partition, keyed by the request."""
    pieces = [TextDelta(f"word{n} ") for n in range(40)]
    whole = "".join(piece.text for piece in pieces)
    bench = Bench([[*pieces, answer(whole)]])
    event = await completed(bench, missed(stream=True))
    assert bench.sink.text == whole == event.completion.content
    assert [emit.value.seq for emit in bench.sink.emits] == list(range(len(bench.sink.emits)))
    assert {(e.topic, e.partition, e.key, e.value.attempt) for e in bench.sink.emits} == {
        (DELTAS.name, 3, "r-1", 1)
    }
    assert event.envelope.calls[0].time_to_first_token_us == 0


async def test_without_a_reply_partition_of_ours_deltas_go_by_key() -> None:
    """A Kafka sender with its own reply topic reads deltas by the request's key."""
    bench = Bench([answer("a streamed answer")])
    await completed(bench, missed(stream=True, reply_to=ReplyAddress(topic="their.replies", partition=1)))
    assert {emit.partition for emit in bench.sink.emits} == {None}


@pytest.mark.parametrize(
    "asked", [{"response_format": {"type": "json_object"}}, {"tools": ({"type": "function"},)}]
)
async def test_structured_answers_are_not_published_in_pieces(asked: dict[str, object]) -> None:
    """JSON and tool calls are checked whole before anybody sees them."""
    bench = Bench([answer('{"a": 1}')])
    event = await completed(bench, missed(stream=True, **asked))
    assert bench.sink.emits == []
    assert event.completion.content == '{"a": 1}'


BLOCKED_STREAM = (
    UsageKnown(Usage(input_tokens=90), "gpt-4o"),
    TextDelta("It is FOR"),
    TextDelta("BIDDEN to say"),
    TextDelta(" more"),
)


async def test_after_a_block_nothing_is_published_and_the_providers_own_usage_is_booked() -> None:
    """A stream that ends soon is read to its end, because what it says is what it bills."""
    bench = Bench([[*BLOCKED_STREAM, answer("It is FORBIDDEN to say more")]])
    event = await completed(bench, missed(stream=True))
    assert bench.sink.text == "It is "
    assert event.completion.content == "It is FORBIDDEN to say more"
    assert event.completion.usage == answer("It is FORBIDDEN to say more").usage


async def test_a_blocked_stream_that_goes_on_is_stopped_and_estimated() -> None:
    """The provider is not paid for an answer that nobody will see; what came is billed."""
    bench = Bench([[*BLOCKED_STREAM, HANGS]], read_on_s=0.01)
    event = await completed(bench, missed(stream=True))
    assert bench.sink.text == "It is "
    assert event.completion.content == "It is FORBIDDEN to say more"
    assert event.completion.finish_reason == "content_filter"
    assert event.completion.usage.input_tokens == 90
    assert event.completion.usage.output_tokens > 0
    assert event.envelope.calls[0].cost_usd > 0
    assert bench.openai.closed_streams == 1


async def test_a_fault_after_a_block_is_no_reason_to_ask_again() -> None:
    """The verdict stands; another call would only cost more."""
    bench = Bench([[*BLOCKED_STREAM, ConnectionLost("reset")]])
    event = await completed(bench, missed(stream=True))
    assert event.completion.finish_reason == "content_filter"
    assert len(event.envelope.calls) == 1


async def test_a_broken_stream_is_replaced_by_a_higher_attempt() -> None:
    """The second answer's deltas carry number 2; the first call's spend stays in the books."""
    broken = ConnectionLost("reset")
    broken.billed_usage = Usage(input_tokens=100, output_tokens=4)
    begun = [TextDelta(word) for word in ("The first ", "answer is ", "going on ", "and on ", "and on ")]
    bench = Bench([[*begun, broken], answer("The second answer")])
    event = await completed(bench, missed(stream=True))
    assert {emit.value.attempt for emit in bench.sink.emits} == {1, 2}
    assert "".join(e.value.text for e in bench.sink.emits if e.value.attempt == 2) == "The second answer"
    assert event.completion.attempt == 2
    assert [call.cost_usd for call in event.envelope.calls] == [Decimal("0.00029"), Decimal("0.00035")]


async def test_deltas_that_cannot_be_published_do_not_fail_the_request() -> None:
    """The completion has the whole answer, though its watcher saw only the beginning."""
    pieces = [TextDelta(f"word{n} ") for n in range(40)]
    whole = "".join(piece.text for piece in pieces)
    bench = Bench([[*pieces, answer(whole)]], sink=FakeSink(fails_after=1))
    event = await completed(bench, missed(stream=True))
    assert event.completion.content == whole
    assert len(bench.sink.emits) == 1


# ── redelivery ────────────────────────────────────────────────────────────────────────────────────


async def test_a_redelivery_after_the_result_sends_it_again_without_a_call() -> None:
    """The worker died between storing and sending: the same event, one call."""
    bench = Bench([answer()])
    first = await bench.stage.handle(delivery())
    second = await bench.stage.handle(delivery())
    assert first == second
    assert len(bench.openai.calls) == 1


async def test_a_repeat_at_another_offset_is_dropped_while_the_first_runs() -> None:
    """The first record will bring the outcome."""
    bench = Bench([answer()])
    repeats: list[object] = []

    async def repeat() -> None:
        repeats.append(await bench.stage.handle(delivery(offset=8)))

    task: list[asyncio.Task[None]] = []
    provider = FakeProvider(
        "openai", [ServerFault("x"), answer()], before=lambda: task.append(asyncio.create_task(repeat()))
    )
    bench.stage.loop._kind.providers = clients_of({"openai": provider})
    await completed(bench)
    await asyncio.gather(*task)
    assert repeats[0] == ()


async def test_once_delivered_every_repeat_is_dropped() -> None:
    """The broker has the outcome: neither the same record nor another sends anything."""
    bench = Bench([answer()])
    first = delivery()
    await bench.stage.handle(first)
    await bench.stage.delivered(first)
    assert await bench.stage.handle(delivery()) == ()
    assert await bench.stage.handle(delivery(offset=8)) == ()


async def test_a_result_not_known_to_be_sent_is_sent_for_another_record_too() -> None:
    """The first record may be dead-lettered because Kafka did not take its result."""
    bench = Bench([answer()])
    first = await bench.stage.handle(delivery())
    assert await bench.stage.handle(delivery(offset=8)) == first


async def test_a_zombies_acknowledgement_does_not_close_the_entry() -> None:
    """Only the delivery that returned the result may say that it was sent."""
    bench = Bench([answer()])
    await bench.stage.handle(delivery())
    await bench.stage.delivered(delivery())
    assert len(await bench.stage.handle(delivery())) == 1


async def test_a_lost_call_is_booked_as_orphaned_and_the_request_answered() -> None:
    """The former worker died during its call: its input is booked as an estimate."""
    journal = FakeJournal()
    dying = FakeProvider("openai", [ServerFault("boom")], before=None)
    bench = Bench(dying, journal=journal)
    with pytest.raises(IndexError):  # the script ends: the worker dies within its second call
        await bench.stage.handle(delivery())
    event = await completed(Bench([answer()], journal=journal))
    known, lost, final = event.envelope.calls
    assert (known.error, known.orphaned, known.cost_usd) == ("server_error", False, Decimal(0))
    assert (lost.error, lost.orphaned, lost.attempt) == ("orphaned", True, 2)
    assert lost.usage.input_tokens > 0
    assert lost.usage.output_tokens == 0
    assert lost.cost_usd > 0
    assert (final.attempt, event.completion.attempt) == (3, 3)


async def test_a_fenced_worker_makes_no_further_call() -> None:
    """Another worker took over during the first call: the retry is not made, nothing is sent."""
    journal = FakeJournal()
    provider = FakeProvider(
        "openai", [ServerFault("boom"), answer()], before=lambda: journal.take_over("r-1")
    )
    bench = Bench(provider, journal=journal)
    with pytest.raises(Superseded):
        await bench.stage.handle(delivery())
    assert len(provider.calls) == 1


async def test_a_fenced_worker_sends_no_result() -> None:
    """Another worker took over during the call that answered."""
    journal = FakeJournal()
    provider = FakeProvider("openai", [answer()], before=lambda: journal.take_over("r-1"))
    with pytest.raises(Superseded):
        await Bench(provider, journal=journal).stage.handle(delivery())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_zombie_stops_in_the_middle_of_its_call(stream: bool) -> None:
    """A worker looks every second whether it still holds the request, streamed or not."""
    journal = FakeJournal()
    script = [TextDelta("word "), HANGS] if stream else HANGS
    provider = FakeProvider("openai", [script], before=lambda: journal.take_over("r-1"))
    bench = Bench(provider, journal=journal, pause=at_once)
    with pytest.raises(Superseded):
        await bench.stage.handle(delivery(missed(stream=stream)))
    assert provider.closed_streams == 1


# ── outages of Redis ──────────────────────────────────────────────────────────────────────────────


async def test_without_the_journal_no_provider_is_asked() -> None:
    """The runner retries; a call that nobody has noted is never made."""
    journal = FakeJournal()
    journal.away_for = {"begin_call": 1}
    bench = Bench([answer()], journal=journal)
    with pytest.raises(StoreUnavailable):
        await bench.stage.handle(delivery())
    assert bench.openai.calls == []
    assert len(await bench.stage.handle(delivery())) == 1


async def test_an_answer_in_hand_waits_for_redis_to_come_back() -> None:
    """It was paid for: storing it is tried again until the deadline, without another call."""
    journal = FakeJournal()
    journal.away_for = {"finish": 3, "end_call": 1}
    bench = Bench([ServerFault("boom"), answer()], journal=journal)
    await completed(bench)
    assert len(bench.openai.calls) == 2
    assert bench.clock.slept == [1.5, 0.5, 0.5, 0.5]


async def test_an_answer_is_sent_unstored_when_redis_stays_away() -> None:
    """At the deadline the answer goes out with its spend, rather than vanish with it."""
    journal = FakeJournal()
    journal.away_for = {"finish": 1000}
    bench = Bench([answer()], journal=journal)
    event = await completed(bench, missed(deadline_s=3))
    assert event.envelope.calls[0].cost_usd > 0
    assert 2 <= bench.clock.elapsed_s <= 3


async def test_spend_is_booked_where_redis_goes_away_between_two_calls() -> None:
    """The retry waits for the journal; at the deadline the request fails with its first call in the books."""
    broken = ConnectionLost("reset")
    broken.billed_usage = Usage(input_tokens=100, output_tokens=4)
    journal = FakeJournal()
    provider = FakeProvider(
        "openai", [broken], before=lambda: journal.away_for.update(begin_call=1000, end_call=1, finish=1000)
    )
    event = await outcome(Bench(provider, journal=journal))
    assert event.error is not None
    assert event.error.code == "deadline_exceeded"
    assert [call.cost_usd for call in event.envelope.calls] == [Decimal("0.00029")]


async def test_a_retry_goes_on_when_redis_is_back() -> None:
    """Two seconds away, then the second call answers."""
    journal = FakeJournal()
    provider = FakeProvider(
        "openai",
        [ServerFault("boom"), answer()],
        before=lambda: journal.away_for.setdefault("begin_call", 4),
    )
    event = await completed(Bench(provider, journal=journal))
    assert len(event.envelope.calls) == 2


async def test_the_time_that_redis_was_away_is_not_the_models() -> None:
    """Ten seconds of it: the call that waited for the journal has only what is left then."""
    journal = FakeJournal()
    provider = FakeProvider(
        "openai",
        [ServerFault("boom"), answer()],
        before=lambda: journal.away_for.setdefault("begin_call", 20),
    )
    await completed(Bench(provider, journal=journal), missed(deadline_s=21.5))
    assert provider.calls[1].timeouts.total_s == pytest.approx(21.5 - 1.5 - 10 - 1)


async def test_who_waits_for_redis_takes_nobody_s_place() -> None:
    """Of many with an answer in hand all go on within half a second; meanwhile no other could have begun."""
    journal = FakeJournal()
    bench = Bench([answer()] * 20, journal=journal)
    journal.away_for = {"finish": 10**6}
    held = [
        asyncio.create_task(bench.stage.handle(delivery(missed(request_id=f"r-{n}"), offset=n)))
        for n in range(20)
    ]
    while journal.away_for["finish"] > 10**6 - 60:
        await asyncio.sleep(0)
    journal.away_for["claim"] = 1
    with pytest.raises(StoreUnavailable):
        await bench.stage.handle(delivery(missed(request_id="another"), offset=99))
    journal.away_for = {}
    waits = len(bench.clock.slept)
    assert all([len(await each) == 1 for each in held])
    assert len(bench.clock.slept) == waits
    assert set(bench.clock.slept) == {RETRY_S}


async def test_redis_away_while_delivered_is_no_fault() -> None:
    """A repeat would be sent again, and recognised further down."""
    journal = FakeJournal()
    journal.away_for = {"sent": 1}
    bench = Bench([answer()], journal=journal)
    first = delivery()
    await bench.stage.handle(first)
    await bench.stage.delivered(first)
    assert len(await bench.stage.handle(delivery())) == 1


def test_the_fake_guard_holds_back_a_split_word() -> None:
    """Tests of the stage rely on it."""
    guard = FakeGuard("abc")
    assert guard.feed("xxab") == "xx"
    assert guard.feed("c") == ""
    assert guard.blocked_by == "banned"


async def test_a_parameter_that_the_models_own_api_has_not_is_told_before_anything_is_asked() -> None:
    """Where a template chose the model, nobody could tell its sender earlier."""
    bench = Bench([answer("Hello")], anthropic=[answer("Hello")])
    event = msgspec.structs.replace(missed(params={"verbosity": "low"}), default_model="claude-3-opus")
    refused = await outcome(bench, event)
    assert refused.error is not None
    assert (refused.status, refused.error.param) == (Status.FAILED, "verbosity")
    assert (bench.openai.calls, bench.anthropic.calls) == ([], [])

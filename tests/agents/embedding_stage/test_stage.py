"""What the embeddings stage makes of a request, of a repeat, and of a worker's death."""

import asyncio
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from agents.embedding_stage.stage import AdmittedEmbeddings
from agents.providers.faults import RateLimited, ServerFault
from agents.stage import Superseded
from streams.errors import StoreUnavailable
from streams.events import Reply, Status
from streams.redelivery import Redelivery
from streams.registry.registry import Registration, SubmissionState
from streams.topics import REPLIES
from tests.agents.embedding_stage.fakes import (
    HANGS,
    SMALL,
    Bench,
    FakeEmbedder,
    delivery,
    embedded,
    outcome,
    vectors,
    wanted,
)
from tests.agents.llm.fakes import FakeJournal, at_once
from tests.fakes.registries import ScriptedRegistry

SPENT = Decimal("0.000020000")  # 1,000 tokens of text-embedding-3-small


async def test_the_vectors_are_the_outcome() -> None:
    """With the call that brought them, priced, and nothing else of an answer."""
    bench = Bench([embedded()])
    found = await bench.run()
    assert found.status is Status.ANSWERED
    assert found.completion is not None
    assert found.completion.embeddings == vectors(0.5, -0.25)
    assert (found.completion.content, found.completion.model) == ("", SMALL)
    (call,) = found.envelope.calls
    assert (call.call_id, call.attempt, call.cost_usd, call.error) == ("call-1", 1, SPENT, None)
    assert bench.journal.entries["r-1"]["sent"]


async def test_the_provider_sees_no_personal_data() -> None:
    """Neither in the texts, nor who asks; what goes on for the log is redacted as well."""
    bench = Bench([embedded()])
    found = await bench.run(wanted("Ann asks", "and Bob", dimensions=2))
    (call,) = bench.provider.calls
    assert call.inputs == ("[NAME] asks", "and Bob")
    assert call.dimensions == 2
    assert call.user is not None
    assert "ann" not in call.user
    assert found.envelope.request.query == "[NAME] asks\nand Bob"
    assert found.envelope.input_verdict is not None
    assert found.envelope.input_verdict.pii_types == ("name",)


async def test_a_long_text_is_logged_as_far_as_a_message_may_be() -> None:
    """The envelope must decode again in the next stage."""
    bench = Bench([embedded()])
    text = "word " * 7_000
    found = await bench.run(wanted(text))
    assert bench.provider.calls[0].inputs == (text,)
    assert found.envelope.request.query == text[:32_000]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "gpt-4o"}, "model_not_found"),
        ({"inputs": tuple("abcde")}, "too_many_inputs"),
        ({"dimensions": 9_999}, "invalid_value"),
        ({"inputs": ("Ann " * 6_000,) * 2}, "max_tokens_per_request"),
    ],
)
async def test_what_cannot_be_served_is_refused_without_a_call(fields: dict[str, object], code: str) -> None:
    """A sender over Kafka learns what ingest would have said; none of its texts goes on."""
    bench = Bench()
    found = await bench.run(wanted(**fields))
    assert (found.status, found.error.code if found.error else None) == (Status.FAILED, code)
    assert found.envelope.request.query is None
    assert not bench.provider.calls


async def test_a_reply_topic_that_is_not_allowed_is_refused() -> None:
    """The refusal goes to our own topic."""
    bench = Bench()
    emits = await bench.stage.handle(delivery(headers=(("kafka_replyTopic", b"others"),)))
    found = outcome(emits)
    assert found.error is not None
    assert found.error.code == "reply_topic_not_allowed"
    assert found.envelope.reply_to.topic == REPLIES.name


async def test_a_repeat_gets_the_stored_reply() -> None:
    """With its vectors; nobody is asked again."""
    stored = Reply(request_id="r-1", status=Status.ANSWERED, embeddings=vectors(1.0))
    bench = Bench(registry=ScriptedRegistry(Registration(SubmissionState.SETTLED, stored)))
    (emit,) = await bench.stage.handle(delivery())
    assert isinstance(emit.value, Reply)
    assert (emit.value.repeat, emit.value.embeddings) == (True, stored.embeddings)
    assert not bench.journal.entries


async def test_another_body_under_the_same_id_is_refused() -> None:
    """As for chat; the registry compares all that is asked."""
    bench = Bench(registry=ScriptedRegistry(Registration(SubmissionState.CONFLICT)))
    (emit,) = await bench.stage.handle(delivery())
    assert isinstance(emit.value, Reply)
    assert emit.value.error is not None
    assert emit.value.error.code == "idempotency_conflict"


async def test_a_redelivery_after_the_end_is_nothing() -> None:
    """The broker has the result already."""
    bench = Bench([embedded()])
    await bench.run()
    assert await bench.stage.handle(delivery()) == ()


async def test_a_result_that_was_not_sent_is_sent_without_a_call() -> None:
    """The worker died between storing and sending; another one sends the same."""
    journal = FakeJournal()
    first = outcome(await Bench([embedded()], journal=journal).stage.handle(delivery()))
    bench = Bench(journal=journal)
    assert outcome(await bench.stage.handle(delivery())) == first
    assert not bench.provider.calls


async def test_a_call_that_died_with_its_worker_is_booked_as_orphaned() -> None:
    """What it cost is our own count; the new worker asks again, and both calls are in the outcome."""
    journal = FakeJournal()
    dying = Bench([HANGS], journal=journal)
    task = asyncio.create_task(dying.stage.handle(delivery()))
    while not dying.provider.calls:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    found = await Bench([embedded()], journal=journal).run()
    assert found.status is Status.ANSWERED
    lost, made = found.envelope.calls
    assert (lost.orphaned, lost.attempt, made.attempt) == (True, 1, 2)
    assert lost.usage.input_tokens == dying.provider.calls[0].input_tokens > 0
    assert lost.cost_usd == Decimal("0.00000002") * lost.usage.input_tokens


async def test_a_redelivery_after_the_deadline_books_what_was_lost() -> None:
    """No further call is made, and the lost one is in the outcome."""
    journal = FakeJournal()
    dying = Bench([HANGS], journal=journal)
    task = asyncio.create_task(dying.stage.handle(delivery()))
    while not dying.provider.calls:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    bench = Bench(journal=journal)
    bench.clock.elapsed_s = 61
    found = await bench.run()
    assert (found.status, found.error.code if found.error else None) == (Status.FAILED, "deadline_exceeded")
    assert [call.orphaned for call in found.envelope.calls] == [True]


async def test_a_zombie_sends_nothing() -> None:
    """Another worker has taken over while the call was made."""
    journal = FakeJournal()
    bench = Bench(FakeEmbedder([embedded()], before=lambda: journal.take_over("r-1")), journal=journal)
    with pytest.raises(Superseded):
        await bench.stage.handle(delivery())


async def test_a_cancelled_request_ends_without_a_call() -> None:
    """It was cancelled while it waited in the queue."""
    bench = Bench(
        registry=ScriptedRegistry(Registration(SubmissionState.NEW, cancelled="cancelled_by_sender"))
    )
    bench.journal.cancelled["r-1"] = "cancelled_by_sender"
    found = await bench.run()
    assert (found.status, found.envelope.calls) == (Status.CANCELLED, ())
    assert not bench.provider.calls


async def test_a_cancelled_call_is_stopped_and_booked() -> None:
    """At our own count of its texts, which is what the provider bills."""
    journal = FakeJournal()
    cancels = FakeEmbedder([HANGS], before=lambda: journal.cancelled.update({"r-1": "client_disconnected"}))
    found = await Bench(cancels, journal=journal, pause=at_once).run()
    assert found.status is Status.CANCELLED
    (call,) = found.envelope.calls
    assert (call.error, call.usage.input_tokens) == ("cancelled", cancels.calls[0].input_tokens)
    assert cancels.stopped == 1


async def test_without_the_journal_no_call_is_made() -> None:
    """The runner tries again, and puts the record aside; nothing of it is held meanwhile."""
    bench = Bench([embedded()])
    bench.journal.away_for["begin_call"] = 1
    given = delivery()
    with pytest.raises(StoreUnavailable):
        await bench.stage.handle(given)
    assert not bench.provider.calls
    assert not bench.stage._work._open
    assert outcome(await bench.stage.handle(given)).status is Status.ANSWERED


async def test_what_was_paid_for_waits_for_the_journal() -> None:
    """It is stored once Redis is back."""
    bench = Bench([embedded()])
    bench.journal.away_for["finish"] = 3
    assert (await bench.run()).status is Status.ANSWERED
    assert bench.clock.slept == [0.5] * 3


async def test_a_bug_books_what_was_spent() -> None:
    """The runner asks what is in hand: the envelope with the call within which it happened."""
    bench = Bench([ServerFault("first"), RuntimeError("a bug")])
    given = delivery()
    with pytest.raises(RuntimeError) as caught:
        await bench.stage.handle(given)
    kept = await bench.stage.recover_calls(given, caught.value)
    assert isinstance(kept, AdmittedEmbeddings)
    assert [call.error for call in kept.envelope.calls] == ["server_error", "internal_error"]
    noted = await bench.journal.calls("r-1", record=given.record.address)
    assert [call.error for call in noted.known_calls] == ["server_error", "internal_error"]


async def test_the_log_says_which_stage_was_without_the_journal() -> None:
    """Both while it waits to book calls and while it recovers them: operators search by the stage."""
    with capture_logs() as lines:
        bench = Bench([embedded()])
        bench.journal.away_for["finish"] = 1
        await bench.run()
        bench, given = Bench([RuntimeError("a bug")]), delivery()
        with pytest.raises(RuntimeError) as caught:
            await bench.stage.handle(given)
        bench.journal.away_for["calls"] = 1
        await bench.stage.recover_calls(given, caught.value)
    assert [line["event"] for line in lines] == [
        "embeddings.journal_away",
        "embeddings.calls_not_looked_up",
        "embeddings.calls_recovered",
    ]


async def test_a_record_given_up_books_what_the_journal_knows() -> None:
    """Redis was away when this worker had it; by now it knows of a call that another had made."""
    journal = FakeJournal()
    dying = Bench([HANGS], journal=journal)
    task = asyncio.create_task(dying.stage.handle(delivery()))
    while not dying.provider.calls:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    bench, given = Bench(journal=journal, registry=ScriptedRegistry(broken=1)), delivery()
    with pytest.raises(StoreUnavailable) as caught:
        await bench.stage.handle(given)
    kept = await bench.stage.recover_calls(given, caught.value)
    assert isinstance(kept, AdmittedEmbeddings)
    assert (kept.envelope.tenant, [call.orphaned for call in kept.envelope.calls]) == ("acme", [True])


async def test_a_record_that_was_not_admitted_is_dead_lettered_as_it_is() -> None:
    """Nobody has worked on it."""
    bench, given = Bench(registry=ScriptedRegistry(broken=1)), delivery()
    with pytest.raises(StoreUnavailable) as caught:
        await bench.stage.handle(given)
    assert await bench.stage.recover_calls(given, caught.value) is given.event


async def test_a_replay_sends_the_former_runs_result_under_its_own_number() -> None:
    """A dead letter whose result could not be sent: it is settled as this run's."""
    journal = FakeJournal()
    await Bench([embedded()], journal=journal).stage.handle(delivery())
    again = Redelivery(record="llm.embeddings.v1:0:7", replay=2, replayed_at_ms=1_800_000_000_000)
    found = outcome(await Bench(journal=journal).stage.handle(delivery(again=again)))
    assert (found.envelope.replay, found.status) == (2, Status.ANSWERED)


async def test_a_long_request_is_worked_on_beside_the_loop() -> None:
    """Counting and redacting it takes long; the outcome is the same."""
    bench = Bench([RateLimited("slow down", retry_after_s=1.0), embedded()])
    found = await bench.run(wanted("hello " * 900, "b" * 3_000))
    assert found.status is Status.ANSWERED
    assert [call.error for call in found.envelope.calls] == ["rate_limited", None]

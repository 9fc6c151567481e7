"""Where every request ends."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.cost.stage import CostStage
from agents.runner.dead_letters import DeadLetters
from agents.runner.in_flight import RecordWork
from agents.runner.record_retry import RecordRetryPolicy
from agents.runner.stage_handler import StageHandler
from agents.runner.stage_runner import StageRunner
from agents.stage import Delivery
from streams.codec import header
from streams.errors import SpendPending, StoreUnavailable
from streams.events import (
    ErrorInfo,
    OutcomeReached,
    Reply,
    ReplyAddress,
    RequestLog,
    Status,
    Webhook,
    WebhookDue,
)
from streams.publisher import Emit
from streams.topics import LEDGER, LOGS, OUTCOMES, REPLIES, RETRIES, WEBHOOKS
from tests.agents.cost.calls import llm_call
from tests.fakes.envelopes import NOW, NOW_MS, chat, completion, delivery, envelope
from tests.fakes.registries import ScriptedRegistry


class Clock:
    """Five milliseconds later each time."""

    def __init__(self, begin: Any = NOW) -> None:
        self.now = begin

    def __call__(self) -> Any:
        self.now += timedelta(milliseconds=5)
        return self.now


def stage(registry: ScriptedRegistry, clock: Clock | None = None, *, store_text: bool = True) -> CostStage:
    return CostStage(registry, store_text=store_text, clock=clock or Clock())  # type: ignore[arg-type]  # a fake


def outcome(**fields: Any) -> Delivery[Any]:
    given: dict[str, Any] = {"calls": (llm_call(),)}
    event = OutcomeReached(
        envelope=envelope(**(given | fields)), status=Status.ANSWERED, completion=completion()
    )
    return delivery(event, topic=OUTCOMES, timestamp_ms=NOW_MS - 20)


def value(emits: Sequence[Emit], topic: str) -> Any:
    (emit,) = (each for each in emits if each.topic == topic)
    return emit.value


async def test_one_reply_one_log_one_booking() -> None:
    """To the sender's address with its correlation id; keyed so that each topic keeps its order."""
    emits = await stage(ScriptedRegistry()).handle(outcome())
    assert [each.topic for each in emits] == [REPLIES.name, LOGS.name, LEDGER.name]
    assert [each.key for each in emits] == ["r-1", "r-1", "acme:ann"]
    assert emits[0].partition == 2
    assert header(emits[0].headers, "kafka_correlationId") == b"corr"
    assert value(emits, LEDGER.name).amount_usd == Decimal("0.00045")


async def test_reply_log_and_booking_agree() -> None:
    """The same money and the same timings in all of them; the booking is dated as the log is."""
    emits = await stage(ScriptedRegistry()).handle(outcome())
    reply, log, entry = (each.value for each in emits)
    assert isinstance(reply, Reply)
    assert isinstance(log, RequestLog)
    assert reply.cost_usd == log.cost_usd == entry.amount_usd  # type: ignore[union-attr]
    assert reply.timings == log.timings
    assert entry.booked_at == log.finished_at  # type: ignore[union-attr]


async def test_its_own_timing_is_in_what_it_sends() -> None:
    """The runner cannot add it: what leaves here has no envelope any more."""
    emits = await stage(ScriptedRegistry()).handle(outcome())
    timing = value(emits, LOGS.name).timings[-1]
    assert (timing.stage, timing.outcome, timing.queue_us, timing.work_us) == (
        "cost",
        "answered",
        25_000,
        5_000,
    )


async def test_a_webhook_is_noted_once() -> None:
    """With the reply as the registry has it, which is what `GET` gives; nothing for a settled request."""
    hooked = outcome(request=chat(webhook=Webhook(url="https://hooks.example/")))
    registry = ScriptedRegistry()
    note = value(await stage(registry).handle(hooked), WEBHOOKS.name)
    assert isinstance(note, WebhookDue)
    assert (note.url, note.reply) == ("https://hooks.example/", registry.stored["r-1"])


async def test_what_cost_nothing_is_not_booked() -> None:
    """A blocked request, a cache hit."""
    emits = await stage(ScriptedRegistry()).handle(outcome(calls=()))
    assert [each.topic for each in emits] == [REPLIES.name, LOGS.name]


async def test_everyone_who_waits_gets_a_copy() -> None:
    """Marked as a repeat, at their own addresses; log and booking stay single."""
    waiters = (
        ReplyAddress(topic="orders.replies", partition=1, correlation_id=b"w1"),
        ReplyAddress(topic=REPLIES.name, correlation_id=b"w2"),
    )
    emits = await stage(ScriptedRegistry(waiters=waiters)).handle(outcome())
    replies = [each for each in emits if isinstance(each.value, Reply)]
    assert [header(each.headers, "kafka_correlationId") for each in replies] == [b"corr", b"w1", b"w2"]
    assert [each.value.repeat for each in replies] == [False, True, True]  # type: ignore[union-attr]
    assert (replies[1].topic, replies[1].partition) == ("orders.replies", 1)
    assert len([each for each in emits if each.topic in (LOGS.name, LEDGER.name)]) == 2


async def test_a_repeat_before_the_replies_are_out_sends_the_same_again() -> None:
    """A crash between the two: the stored reply wins over what this event would have said."""
    registry = ScriptedRegistry()
    await stage(registry).handle(outcome())
    other = OutcomeReached(envelope=envelope(), status=Status.FAILED)
    emits = await stage(registry).handle(delivery(other, topic=OUTCOMES))
    reply, log = value(emits, REPLIES.name), value(emits, LOGS.name)
    assert (reply.status, reply.content) == (Status.ANSWERED, completion().content)
    assert (log.status, log.cost_usd) == (Status.ANSWERED, Decimal("0.00045"))


async def test_a_repeat_after_the_replies_are_out_is_dropped() -> None:
    """One terminal reply, one log, one charge."""
    registry = ScriptedRegistry()
    cost, given = stage(registry), outcome()
    await cost.handle(given)
    await cost.delivered(given)
    assert registry.finished == {"r-1"}
    assert await cost.handle(given) == ()


async def test_a_replay_settles_under_its_number() -> None:
    """Reply and booking carry it, the booking under the id it always has; so does the end of it."""
    registry = ScriptedRegistry()
    replay = outcome(replay=2)
    emits = await stage(registry).handle(replay)
    assert value(emits, REPLIES.name).replay == 2
    entry = value(emits, LEDGER.name)
    assert (entry.entry_id, entry.replay) == ("r-1:settle", 2)
    await stage(registry).delivered(replay)
    assert registry.finished_replays == [2]


async def test_texts_stay_out_of_the_log_where_they_are_not_to_be_stored() -> None:
    """HEADRACE_STORE_TEXT=false."""
    emits = await stage(ScriptedRegistry(), store_text=False).handle(outcome())
    assert value(emits, LOGS.name).payload is None


async def test_without_redis_the_reply_waits_until_the_deadline() -> None:
    """The runner tries again; nothing was sent that could be sent twice."""
    cost = stage(ScriptedRegistry(broken=1), Clock(NOW + timedelta(seconds=59)))
    with pytest.raises(StoreUnavailable):
        await cost.handle(outcome())
    assert await cost.handle(outcome())


async def test_without_redis_past_the_deadline_the_reply_goes_out() -> None:
    """With log and booking: the sender waits, and repeats are recognised further on by their ids."""
    cost = stage(ScriptedRegistry(broken=1), Clock(NOW + timedelta(seconds=60)))
    emits = await cost.handle(outcome())
    assert [each.topic for each in emits] == [REPLIES.name, LOGS.name, LEDGER.name]


async def test_without_redis_a_failure_waits_for_longer() -> None:
    """Its request may have its answer already, which only Redis knows: this would be a second reply."""
    event = OutcomeReached(
        envelope=envelope(), status=Status.FAILED, error=ErrorInfo(type="api_error", code="x", message="x")
    )
    failure = delivery(event, topic=OUTCOMES, timestamp_ms=NOW_MS - 20)
    for seconds in (60, 119):
        with pytest.raises(StoreUnavailable):
            await stage(ScriptedRegistry(broken=1), Clock(NOW + timedelta(seconds=seconds))).handle(failure)
    emits = await stage(ScriptedRegistry(broken=1), Clock(NOW + timedelta(seconds=120))).handle(failure)
    assert value(emits, REPLIES.name).status is Status.FAILED


async def test_an_outcome_without_calls_waits_for_the_one_that_has_them() -> None:
    """Until nobody can be working on it any more; then its sender is told at least."""
    event = OutcomeReached(
        envelope=envelope(), status=Status.FAILED, error=ErrorInfo(type="api_error", code="x", message="x")
    )
    without = delivery(event, topic=OUTCOMES, timestamp_ms=NOW_MS - 20)
    registry = ScriptedRegistry(spent=True)
    for seconds in (0, 60, 119):
        with pytest.raises(SpendPending):
            await stage(registry, Clock(NOW + timedelta(seconds=seconds))).handle(without)
    assert await stage(registry).handle(outcome())  # the one that has them
    assert (await stage(registry).handle(without))[0].value.status is Status.ANSWERED
    late = stage(ScriptedRegistry(spent=True), Clock(NOW + timedelta(seconds=120)))
    assert value(await late.handle(without), REPLIES.name).status is Status.FAILED


async def test_a_reply_that_could_not_be_stored_is_stored_when_redis_is_back() -> None:
    """Whoever asks again gets it, instead of waiting for a request that runs no more."""
    registry = ScriptedRegistry(broken=1)
    cost, given = stage(registry, Clock(NOW + timedelta(seconds=60))), outcome()
    await cost.handle(given)
    assert registry.stored == {}
    await cost.delivered(given)
    assert registry.stored["r-1"].content == completion().content
    assert registry.finished == {"r-1"}


async def test_an_answer_outlives_redis_on_its_way_through_the_runner() -> None:
    """The last try is made at the deadline: the sender gets the answer, and not "try again".

    That it could not be noted as fetchable is left to a copy on the retry topic.
    """
    now = [NOW]
    sent: list[Emit] = []

    class Sends:
        async def publish(self, emit: Emit) -> None:
            sent.append(emit)

    async def sleep(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    cost = CostStage(ScriptedRegistry(broken=10_000), store_text=True, clock=lambda: now[0])  # type: ignore[arg-type]  # a fake
    handler = StageHandler(
        cost,
        DeadLetters(reply_topics=(), default_deadline_ms=1_000),
        retry=RecordRetryPolicy(in_place_s=3_600, attempts=1, max_delay_s=1),
        default_deadline_ms=1_000,
        clock=lambda: now[0],
        sleep=sleep,
    )
    runner = StageRunner(handler, Sends())  # type: ignore[arg-type]  # a fake
    await runner.run(outcome().record, RecordWork("llm.outcomes.v1:0:0", 0.0))
    assert [each.topic for each in sent] == [REPLIES.name, LOGS.name, LEDGER.name, RETRIES.name]
    assert value(sent, REPLIES.name).status is Status.ANSWERED

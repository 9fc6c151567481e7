"""The life of one record, with a publisher and a stage that do as they are told."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog

from agents.runner.in_flight import RecordWork
from agents.stage import Delivery, Superseded
from streams.codec import encode, header
from streams.errors import (
    InvalidRequest,
    KafkaUnavailable,
    StoreUnavailable,
    UnknownTopic,
)
from streams.events import EmbeddingsRequested, ErrorInfo, OutcomeReached, Reply, Status, Webhook
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Emit
from streams.redelivery import FIRST_DELIVERY, replayed
from streams.topics import (
    DEAD_LETTERS,
    EMBEDDINGS,
    GUARDED,
    LOGS,
    MISSES,
    OUTCOMES,
    REPLIES,
    REQUESTS,
    RETRIES,
    WEBHOOKS,
)
from tests.agents.runner.runs import Run, assert_buried, failing, forward, guarded, too_large, value
from tests.fakes.envelopes import NOW, chat, completion, envelope, record
from tests.fakes.records import read_record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# ── what Headrace did not write ───────────────────────────────────────────────────────────────────


async def test_an_event_that_headrace_did_not_write_is_a_dead_letter_and_nobody_is_told() -> None:
    """Whoever may write to a topic may not speak for a stage, nor end somebody's request."""
    run = Run(forward)
    forged = msgspec.structs.replace(guarded(), authentic=False)
    await run(forged)
    assert run.diary == [f"sent {DEAD_LETTERS.name}"]
    assert header(run.sends.sent[0].headers, "__streams.errors.exception") == b"UnauthenticRecord"


async def test_a_request_needs_no_code_of_ours() -> None:
    """Its sender has no key."""
    run = Run(lambda _: (), source=REQUESTS)
    await run(msgspec.structs.replace(record(chat()), authentic=False))
    assert run.diary == ["handle", "delivered"]


async def test_a_broken_record_under_an_accepted_requests_id_ends_in_silence() -> None:
    """Who sent the request waits for its own reply; anybody can copy its id and its headers."""

    async def knows(request_id: str) -> bool:
        return request_id == "r-1"

    for key, told in ((b"r-1", 0), (b"r-2", 1)):
        run = Run(forward, source=REQUESTS, knows=knows)
        await run(record(b"{", key=key, headers=[("kafka_correlationId", b"c")]))
        assert (len(run.sends.on(DEAD_LETTERS)), len(run.sends.on(REPLIES))) == (1, told)


async def test_a_broken_record_is_told_of_where_nobody_can_say_whose_id_it_has() -> None:
    """Redis is away: its sender may be waiting."""

    async def knows(_: str) -> bool:
        raise StoreUnavailable("Redis is away")

    run = Run(forward, source=REQUESTS, knows=knows)
    await run(record(b"{", key=b"r-1"))
    assert len(run.sends.on(REPLIES)) == 1


def test_redelivery_headers_are_believed_of_headrace_only() -> None:
    """A sender's own would occupy a replay number, or date a request back."""
    auth = RecordAuth([b"k" * 32])
    headers = replayed((), record=f"{REQUESTS.name}:0:1", timestamp_ms=5, at_ms=6)
    given = {
        "topic": REQUESTS.name,
        "partition": 0,
        "offset": 9,
        "timestamp_ms": 7,
        "key": b"k",
        "value": b"v",
    }
    forged = read_record(**given, headers=headers, auth=auth)
    assert (forged.again, forged.headers, forged.authentic) == (FIRST_DELIVERY, (), False)
    signed = auth.signed(REQUESTS.name, b"k", b"v", headers)
    ours = read_record(**given, headers=signed, auth=auth)
    assert (ours.again.replay, ours.address, ours.authentic) == (1, f"{REQUESTS.name}:0:1", True)


# ── the ordinary way ──────────────────────────────────────────────────────────────────────────────


async def test_everything_is_sent_before_the_stage_is_told_and_before_the_run_ends() -> None:
    """Only when `run` returns may the offset be committed."""
    run = Run(lambda d: (*forward(d), Emit.to(LOGS, d.event, key="r-1")))
    await run(guarded())
    assert run.diary == ["handle", f"sent {MISSES.name}", f"sent {LOGS.name}", "delivered"]


async def test_handle_and_delivered_are_given_the_very_same_delivery() -> None:
    """Stages tell their own delivery from a zombie's of the same record by identity."""
    run = Run(forward)
    await run(guarded())
    assert len(run.stage.noted) == 1
    assert run.stage.noted[0] is run.stage.handled[0]


async def test_a_dropped_record_is_noted_without_a_send() -> None:
    """A repeat needs nothing more, and is done."""
    run = Run(lambda _: ())
    await run(guarded())
    assert run.diary == ["handle", "delivered"]


async def test_a_superseded_delivery_is_over_and_its_record_is_not_done() -> None:
    """Whoever took the work over may die: nothing is sent, buried or acknowledged."""

    def superseded(_: Delivery[Any]) -> Sequence[Emit]:
        raise Superseded

    run = Run(superseded)
    given = guarded()
    work = RecordWork(given.place, 0.0)
    assert not await run.runner.run(given, work)
    assert (run.diary, work.is_dead) == (["handle"], False)


async def test_the_stage_stamps_its_timing_into_the_envelope() -> None:
    """How long the record waited, how long the stage worked, how it went; earlier stages' stay."""
    run = Run(forward)

    def work(delivery: Delivery[Any]) -> Sequence[Emit]:
        run.clock.now += timedelta(milliseconds=5)
        return forward(delivery)

    run.stage.do = work
    run.clock.now = NOW + timedelta(milliseconds=40)
    await run(guarded())
    await run(guarded())
    timings = value(run.sends.sent[0]).envelope.timings
    (timing,) = timings
    assert (timing.stage, timing.queue_us, timing.work_us, timing.outcome) == (
        "scripted",
        40_000,
        5_000,
        "passed",
    )
    assert timing.started_at == NOW + timedelta(milliseconds=40)


async def test_a_timing_names_the_status_where_the_request_is_decided() -> None:
    """So that analysts see where a request ended."""
    run = Run(
        lambda d: (
            Emit.to(OUTCOMES, OutcomeReached(envelope=d.event.envelope, status=Status.BLOCKED), key="r"),
        ),
    )
    await run(guarded())
    assert value(run.sends.sent[0]).envelope.timings[-1].outcome == "blocked"


async def test_clocks_that_disagree_give_no_negative_wait() -> None:
    """The record was written by another machine's clock."""
    run = Run(forward)
    run.clock.now = NOW - timedelta(seconds=3)
    await run(guarded())
    assert value(run.sends.sent[0]).envelope.timings[0].queue_us == 0


async def test_records_carry_cloudevents_headers_and_the_trace() -> None:
    """Ours first, then the stage's own."""
    run = Run(lambda d: (Emit.to(MISSES, d.event, key="r-1", headers=[("mine", b"1")]),))
    await run(guarded(traceparent=TRACEPARENT))
    headers = dict(run.sends.sent[0].headers)
    assert headers["ce_id"] == b"r-1"
    assert headers["ce_source"] == b"headrace/scripted"
    assert headers["ce_type"] == b"headrace.RequestGuarded"
    assert headers["traceparent"] == TRACEPARENT.encode()
    assert headers["mine"] == b"1"


async def test_bytes_are_passed_on_untouched() -> None:
    """Neither a timing nor a header of ours."""
    emit = Emit(topic=LOGS.name, key=b"k", value=b"raw", headers=(("x", b"1"),))
    run = Run(lambda _: (emit,))
    await run(guarded())
    assert run.sends.sent == [emit]


# ── transient faults ──────────────────────────────────────────────────────────────────────────────


async def test_a_transient_fault_is_waited_out() -> None:
    """The same delivery is handled again until it works."""
    faults = [StoreUnavailable("away"), StoreUnavailable("still away")]

    def do(delivery: Delivery[Any]) -> Sequence[Emit]:
        if faults:
            raise faults.pop()
        return forward(delivery)

    run = Run(do)
    await run(guarded())
    assert len(run.clock.slept) == 2
    assert {id(each) for each in run.stage.handled} == {id(run.stage.noted[0])}
    assert run.sends.on(MISSES)
    assert not run.sends.on(OUTCOMES)


async def test_waits_grow_and_are_bounded() -> None:
    """A dependency that comes back is not met by everybody at once, nor found late."""
    run = Run(failing(StoreUnavailable("away", retry_after_s=0)))
    await run(guarded())
    whole = run.clock.slept[:-1]  # the last wait ends at the deadline
    assert 0.075 <= whole[0] <= 0.125
    assert all(1.5 <= wait <= 2.5 for wait in whole[6:])


async def test_the_last_try_is_at_the_deadline_and_then_the_request_fails() -> None:
    """Its sender is told; the record is no dead letter, for nothing was wrong with it."""
    run = Run(failing(StoreUnavailable("away")))
    await run(guarded())
    assert run.clock.now == NOW + timedelta(minutes=1)
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert outcome.status is Status.FAILED
    assert outcome.error.type == "unavailable_error"
    assert outcome.error.code == "dependency_unavailable"
    assert "StoreUnavailable" in outcome.error.message
    assert outcome.envelope.request_id == "r-1"
    assert outcome.envelope.timings[-1].outcome == "failed"
    assert not run.sends.on(DEAD_LETTERS)


async def test_a_stage_that_gave_nothing_is_not_told_of_a_delivery() -> None:
    """`delivered` says that what *it* returned has arrived; the runner's own failure is not that."""
    for fault in (StoreUnavailable("away"), ZeroDivisionError(), InvalidRequest("no")):
        run = Run(failing(fault))
        await run(guarded())
        assert run.stage.noted == []


async def test_without_an_envelope_the_deadline_counts_from_the_records_time() -> None:
    """A request that the guardrail could not register in time."""
    run = Run(failing(StoreUnavailable("away")), source=REQUESTS)
    await run(record(chat(request_id="r-9")))
    assert run.clock.now == NOW + timedelta(seconds=30)
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert (outcome.envelope.request_id, outcome.envelope.tenant) == ("r-9", "default")


async def test_a_send_is_repeated_until_the_broker_has_it() -> None:
    """Past any deadline: what was decided must not be lost. What it has already is not sent again."""

    def refuse(emit: Emit, tries: int) -> Exception | None:
        return KafkaUnavailable("down") if emit.topic == MISSES.name and tries < 100 else None

    run = Run(lambda d: (*forward(d), Emit.to(LOGS, d.event, key="r-1")), refuse=refuse)
    await run(guarded())
    assert (len(run.sends.on(MISSES)), len(run.sends.on(LOGS))) == (1, 1)
    assert run.clock.now > NOW + timedelta(minutes=1)
    assert run.diary[-2:] == [f"sent {MISSES.name}", "delivered"]


async def test_a_note_that_fails_is_repeated_a_few_times() -> None:
    """The sends are out; only the note is missing."""
    run = Run(forward)
    run.stage.note_faults = 3
    await run(guarded())
    assert (len(run.stage.noted), len(run.clock.slept)) == (1, 3)
    assert not run.sends.on(RETRIES)


async def test_a_bug_in_the_publisher_reaches_the_caller() -> None:
    """Nothing durable happened: the record must not count as done."""

    def refuse(emit: Emit, tries: int) -> Exception | None:
        return ZeroDivisionError()

    run = Run(forward, refuse=refuse)
    with pytest.raises(ZeroDivisionError):
        await run(guarded())
    assert run.stage.noted == []


# ── dead letters ──────────────────────────────────────────────────────────────────────────────────


async def test_the_senders_mistake_is_a_dead_letter_and_its_outcome() -> None:
    """In full, for it can be mended."""
    given = guarded()
    run = Run(failing(InvalidRequest("too blue", code="blue", param="sky")))
    await run(given)
    assert_buried(run, given, "InvalidRequest")
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert outcome.error == ErrorInfo(
        type="invalid_request_error",
        code="blue",
        message="too blue",
        param="sky",
    )


async def test_a_bug_is_a_dead_letter_and_its_outcome_hides_the_internals() -> None:
    """The record is kept for us, and the sender does not wait for ever."""
    given = guarded()
    run = Run(failing(ZeroDivisionError("secret path")))
    await run(given)
    assert_buried(run, given, "ZeroDivisionError")
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert (outcome.status, outcome.error.code) == (Status.FAILED, "internal_error")
    assert "secret" not in encode(outcome).decode()


async def test_what_is_told_of_a_broken_record_has_no_personal_data() -> None:
    """The fault quotes the value that is wrong; neither log nor reply may."""
    given = record(b'{"user_id": "u", "messages": [{"role": "4111 1111 1111 1111"}]}', key=b"r-7")
    run = Run(forward, source=REQUESTS)
    with structlog.testing.capture_logs() as lines:
        await run(given)
    told = [emit.value for emit in run.sends.sent if isinstance(emit.value, Reply)]
    assert "1111" not in f"{lines}{told}"
    assert any("[REDACTED_CREDIT_CARD]" in str(line) for line in lines)


async def test_an_undecodable_request_is_answered_directly() -> None:
    """It was never accepted: a reply, and neither registration nor log that might be a good request's."""
    headers = [("ce_id", b"r-7"), ("kafka_correlationId", b"c-1"), ("kafka_replyTopic", b"orders.replies")]
    given = record(b'{"query": 7}', key=b"k", headers=headers)
    run = Run(forward, source=REQUESTS, reply_topics=("orders.*",))
    await run(given)
    assert_buried(run, given, "UndecodableRecord")
    (told,) = (emit for emit in run.sends.sent if emit.topic == "orders.replies")
    reply = value(told)
    assert isinstance(reply, Reply)
    assert (reply.request_id, reply.status) == ("r-7", Status.FAILED)
    assert reply.error is not None
    assert (reply.error.code, reply.error.param) == ("invalid_request", "query")
    assert header(told.headers, "kafka_correlationId") == b"c-1"
    assert not run.sends.on(OUTCOMES)
    assert run.diary[:1] != ["handle"]


@pytest.mark.parametrize(
    ("body", "key", "found"),
    [
        (b'{"request_id": "in-body", "query": 7}', b"in-key", "in-body"),
        (b"\xff", b"in-key", "in-key"),
        (b"[" * 20_000, b"in-key", "in-key"),
        (b'{"user_id": "u", "metadata": {"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}}", b"in-key", "in-key"),
        (b'{"request_id": 7}', b"in-key", "in-key"),
        (b"\xff", None, None),
        (b"\xff", b"\xff", None),
        (None, None, None),
    ],
)
async def test_whose_garbage_it_is_is_told_where_an_id_can_be_read(
    body: bytes | None,
    key: bytes | None,
    found: str | None,
) -> None:
    """From what is left of the body, or from the key; otherwise there is only the dead letter."""
    run = Run(forward, source=REQUESTS)
    await run(record(body, key=key))
    assert len(run.sends.on(DEAD_LETTERS)) == 1
    assert [value(emit).request_id for emit in run.sends.on(REPLIES)] == ([found] if found else [])


async def test_an_undecodable_request_for_embeddings_is_answered_directly() -> None:
    """As one for an answer: it was never accepted either."""
    given = record(b'{"user_id": "u", "inputs": 7}', topic=EMBEDDINGS, key=b"r-7")
    run = Run(forward, source=EMBEDDINGS)
    await run(given)
    assert_buried(run, given, "UndecodableRecord")
    (reply,) = (value(emit) for emit in run.sends.on(REPLIES))
    assert (reply.request_id, reply.error.param) == ("r-7", "inputs")
    assert not run.sends.on(OUTCOMES)


async def test_a_bug_with_embeddings_tells_their_sender() -> None:
    """The outcome is of the right tenant, and has none of the texts."""
    asked = EmbeddingsRequested(
        user_id="ann",
        tenant="acme",
        inputs=("secret",),
        model="m",
        request_id="r-7",
        deadline_ms=5_000,
    )
    run = Run(failing(ZeroDivisionError("a bug")), source=EMBEDDINGS)
    await run(record(asked, topic=EMBEDDINGS))
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert (outcome.envelope.request_id, outcome.envelope.tenant) == ("r-7", "acme")
    assert outcome.envelope.deadline_at == NOW + timedelta(seconds=5)
    assert "secret" not in encode(outcome).decode()


async def test_garbage_on_an_inner_topic_becomes_a_failed_outcome() -> None:
    """The request was accepted once: it must end, with its log record."""
    given = record(b"{}", topic=GUARDED, key=b"r-1")
    run = Run(forward)
    await run(given)
    assert_buried(run, given, "UndecodableRecord")
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert outcome.envelope.request_id == "r-1"


async def test_a_newer_schema_is_a_dead_letter() -> None:
    """A worker that was not upgraded keeps the record and says what to do."""
    given = msgspec.structs.replace(guarded(), headers=(("ce_dataschema", b"urn:headrace:RequestGuarded:9"),))
    run = Run(forward)
    await run(given)
    assert (
        "upgrade Headrace" in dict(run.sends.on(DEAD_LETTERS)[0].headers)["__streams.errors.message"].decode()
    )


async def test_a_record_that_no_date_fits_is_worked_on_all_the_same() -> None:
    """Producers choose timestamps; one of theirs must not stop a stage."""
    for timestamp_ms in (-1, -(2**62), 2**62):
        run = Run(forward)
        await run(msgspec.structs.replace(guarded(), timestamp_ms=timestamp_ms))
        assert run.sends.on(MISSES)


async def test_what_fails_in_cost_does_not_come_to_cost_again() -> None:
    """Or a bug there would send one request around for ever. The sender has a reply of its own."""
    event = OutcomeReached(envelope=envelope(), status=Status.ANSWERED, completion=completion())
    given = record(event, topic=OUTCOMES, key=b"r-1")
    run = Run(failing(ZeroDivisionError()), source=OUTCOMES)
    await run(given)
    assert_buried(run, given, "ZeroDivisionError")
    assert not run.sends.on(OUTCOMES)
    (told,) = run.sends.on(REPLIES)
    assert (value(told).status, told.partition) == (Status.FAILED, 2)
    assert header(told.headers, "kafka_correlationId") == b"corr"


async def test_what_fails_in_cost_is_told_to_its_webhook() -> None:
    """With the very reply that its sender gets."""
    hooked = envelope(chat(webhook=Webhook(url="https://hooks.example/")))
    event = OutcomeReached(envelope=hooked, status=Status.ANSWERED, completion=completion())
    run = Run(failing(ZeroDivisionError()), source=OUTCOMES)
    await run(record(event, topic=OUTCOMES, key=b"r-1"))
    (told,), (note,) = run.sends.on(REPLIES), run.sends.on(WEBHOOKS)
    assert (value(note).url, value(note).reply) == ("https://hooks.example/", value(told))


# ── records that cannot be delivered ──────────────────────────────────────────────────────────────


async def test_a_record_that_became_too_large_is_a_dead_letter() -> None:
    """The record that led to it is kept, and its sender is told."""
    given = guarded()
    run = Run(forward, refuse=too_large(MISSES))
    await run(given)
    assert_buried(run, given, "RecordTooLarge")
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert outcome.error.code == "internal_error"
    assert run.clock.slept == []


async def test_a_log_that_is_too_large_does_not_take_back_the_reply() -> None:
    """One terminal reply: the sender has its answer, and the dead letter is for us."""
    reply = Reply(request_id="r-1", status=Status.ANSWERED)
    run = Run(
        lambda d: (Emit.to(REPLIES, reply, key="r-1"), Emit.to(LOGS, d.event, key="r-1")),
        refuse=too_large(LOGS),
    )
    await run(guarded())
    assert [value(emit).status for emit in run.sends.on(REPLIES)] == [Status.ANSWERED]
    assert len(run.sends.on(DEAD_LETTERS)) == 1
    assert not run.sends.on(OUTCOMES)


async def test_a_reply_whose_topic_has_gone_comes_to_our_own() -> None:
    """Where it can still be fetched; nothing was wrong with the record."""
    reply = Reply(request_id="r-1", status=Status.ANSWERED, content="Paris")
    emit = Emit(
        topic="orders.replies",
        key="r-1",
        value=reply,
        headers=(("kafka_correlationId", b"c"),),
        partition=9,
    )

    def refuse(sent: Emit, tries: int) -> Exception | None:
        return UnknownTopic("gone") if sent.topic == "orders.replies" else None

    run = Run(lambda _: (emit,), refuse=refuse)
    await run(guarded())
    (told,) = run.sends.on(REPLIES)
    assert (value(told), told.partition, header(told.headers, "kafka_correlationId")) == (reply, None, b"c")
    assert not run.sends.on(DEAD_LETTERS)
    assert len(run.stage.noted) == 1


async def test_garbage_that_names_a_reply_partition_that_is_not_there() -> None:
    """One dead letter, one reply, and the stage goes on."""
    headers = [("kafka_replyPartition", (99).to_bytes(4, "big"))]

    def refuse(sent: Emit, tries: int) -> Exception | None:
        return UnknownTopic("no partition 99") if sent.partition == 99 else None

    run = Run(forward, source=REQUESTS, refuse=refuse)
    await run(record(b"\xff", key=b"r-1", headers=headers))
    assert len(run.sends.on(DEAD_LETTERS)) == 1
    assert [emit.partition for emit in run.sends.on(REPLIES)] == [None]


async def test_a_dead_letter_that_cannot_be_written_ends_there() -> None:
    """The record is still where it came from; the log says which it is."""
    run = Run(failing(ZeroDivisionError()), refuse=too_large(DEAD_LETTERS))
    await run(guarded())
    assert run.sends.tries[DEAD_LETTERS.name] == 1
    assert len(run.sends.on(OUTCOMES)) == 1

"""Records that come again: from the retry topic after an outage, and from the dead letters by an operator."""

from datetime import UTC, datetime, timedelta

from agents.stage import Record
from streams.errors import StoreUnavailable
from streams.events import Event, OutcomeReached, Status
from streams.publisher import Emit
from streams.redelivery import Headers, redelivery, replayed
from streams.topics import DEAD_LETTERS, OUTCOMES, REPLIES, REQUESTS, RETRIES
from tests.agents.runner.runs import (
    ASIDE,
    Run,
    SpendingStage,
    assert_buried,
    failing,
    forward,
    guarded,
    too_large,
    value,
)
from tests.fakes.envelopes import NOW, NOW_MS, chat, completion, envelope, record
from tests.fakes.records import read_record

# ── the retry topic ───────────────────────────────────────────────────────────────────────────────


def copy_of(emit: Emit, given: Record, *, offset: int = 99, timestamp_ms: int | None = None) -> Record:
    """The copy as the stage reads it once it is back."""
    assert not isinstance(emit.value, Event)
    return read_record(
        topic=given.topic,
        partition=given.partition,
        offset=offset,
        timestamp_ms=given.timestamp_ms + 10_000 if timestamp_ms is None else timestamp_ms,
        key=given.key,
        value=emit.value,
        headers=emit.headers,
    )


async def test_a_longer_outage_puts_the_record_aside() -> None:
    """Its own bytes and headers, and where it came from; the stage is not told, the sender neither."""
    given = guarded()
    run = Run(failing(StoreUnavailable("redis is away")), retry=ASIDE)
    work = await run(given)
    (aside,) = run.sends.sent
    assert (aside.topic, aside.key, aside.value) == (RETRIES.name, given.key, given.value)
    assert aside.headers[: len(given.headers)] == given.headers
    again = redelivery(aside.headers)
    assert (again.record, again.timestamp_ms, again.attempt) == (given.address, given.timestamp_ms, 1)
    assert (work.put_aside, work.is_dead, run.stage.noted) == (True, False, [])
    assert run.clock.now - NOW <= timedelta(seconds=5)
    delay = timedelta(milliseconds=again.not_before_ms) + datetime(1970, 1, 1, tzinfo=UTC) - run.clock.now
    assert timedelta(seconds=0.7) < delay < timedelta(seconds=1.3)


async def test_a_note_that_cannot_be_made_is_made_later() -> None:
    """What the stage made of the record is out; its copy comes back once Redis may be there, and notes it."""
    given = guarded()
    run = Run(forward, retry=ASIDE)
    run.stage.note_faults = 5
    work = await run(given)
    (aside,) = run.sends.on(RETRIES)
    assert (work.put_aside, run.stage.noted) == (True, [])
    assert redelivery(aside.headers).record == given.address
    await run(copy_of(aside, given))
    assert len(run.stage.noted) == 1


async def test_a_note_is_not_put_off_for_ever() -> None:
    """As often as any record is put aside."""
    given = guarded()
    run = Run(forward, retry=ASIDE)
    run.stage.note_faults = 1_000
    await run(given)
    for _ in range(ASIDE.attempts):
        await run(copy_of(run.sends.on(RETRIES)[-1], given))
    assert len(run.sends.on(RETRIES)) == ASIDE.attempts


async def test_a_copy_is_known_as_its_first_record_and_queues_since_it_is_back() -> None:
    """The journal sees the same address; analysts see how long this very record waited."""
    given = guarded()
    run = Run(failing(StoreUnavailable("away")), retry=ASIDE)
    await run(given)
    copy = copy_of(run.sends.sent[0], given)
    run.stage.do = forward
    run.clock.now = NOW + timedelta(milliseconds=10_040)
    await run(copy)
    handled = run.stage.handled[-1].record
    assert (handled.address, handled.written_at) == (given.address, given.written_at)
    assert handled.place != given.address
    assert value(run.sends.sent[-1]).envelope.timings[-1].queue_us == 40_000


async def test_after_its_last_attempt_a_record_is_a_dead_letter_and_its_sender_is_told() -> None:
    """The dead letter names the copy's own place, and still says which record was the first."""
    given = guarded(deadline_at=NOW + timedelta(hours=6))
    run = Run(failing(StoreUnavailable("away")), retry=ASIDE)
    current = given
    for attempt in range(1, 4):
        await run(current)
        current = copy_of(run.sends.sent[-1], given, offset=100 + attempt)
        assert current.again.attempt == attempt
    work = await run(current)
    (letter,) = run.sends.on(DEAD_LETTERS)
    headers = dict(letter.headers)
    assert (headers["__streams.errors.offset"], headers["__streams.errors.exception"]) == (
        b"103",
        b"StoreUnavailable",
    )
    assert redelivery(letter.headers).record == given.address
    (outcome,) = (value(emit) for emit in run.sends.on(OUTCOMES))
    assert (outcome.status, outcome.error.code) == (Status.FAILED, "dependency_unavailable")
    assert (len(run.sends.on(RETRIES)), work.is_dead) == (3, True)


async def test_a_copy_that_comes_back_at_its_deadline_is_tried_once_more() -> None:
    """Then its sender is told; it is no dead letter."""
    given = guarded()
    run = Run(failing(StoreUnavailable("away")), retry=ASIDE)
    run.clock.now = NOW + timedelta(seconds=54)
    await run(given)
    (aside,) = run.sends.on(RETRIES)
    assert redelivery(aside.headers).not_before_ms <= (NOW_MS + 60_000)
    run.clock.now = NOW + timedelta(seconds=60)
    await run(copy_of(aside, given))
    assert run.diary.count("handle") > 1
    assert [value(emit).error.code for emit in run.sends.on(OUTCOMES)] == ["dependency_unavailable"]
    assert not run.sends.on(DEAD_LETTERS)


async def test_what_was_spent_before_is_waited_for_beyond_the_deadline() -> None:
    """Only the journal knows the calls of a former worker: a record is not given up before it could tell."""
    given = guarded()
    run = Run(failing(StoreUnavailable("away")), retry=ASIDE, kind=SpendingStage)
    run.clock.now = NOW + timedelta(seconds=61)
    await run(given)
    (aside,) = run.sends.sent
    assert (aside.topic, "recover_calls StoreUnavailable" in run.diary) == (RETRIES.name, False)
    run.clock.now = NOW + timedelta(seconds=120)
    await run(copy_of(aside, given))
    assert run.diary.count("recover_calls StoreUnavailable") == 1
    assert [value(emit).error.code for emit in run.sends.on(OUTCOMES)] == ["dependency_unavailable"]


async def test_a_result_is_never_given_up_for_an_outage() -> None:
    """However often it is put aside, and past its deadline: its sender may have it, and be told otherwise."""
    event = OutcomeReached(envelope=envelope(), status=Status.ANSWERED, completion=completion())
    given = record(event, topic=OUTCOMES, key=b"r-1")
    run = Run(failing(StoreUnavailable("away")), source=OUTCOMES, retry=ASIDE)
    current = given
    for attempt in range(8):
        run.clock.now = NOW
        await run(current)
        current = copy_of(run.sends.sent[-1], given, offset=100 + attempt)
    assert (len(run.sends.on(RETRIES)), len(run.sends.sent)) == (8, 8)
    run.clock.now = NOW + timedelta(hours=2)
    await run(given)
    await run(current)
    assert (len(run.sends.on(RETRIES)), len(run.sends.sent)) == (10, 10)


async def test_a_record_that_is_too_large_for_the_retry_topic_is_a_dead_letter() -> None:
    """Its headers were the last straw; its sender is told."""
    run = Run(failing(StoreUnavailable("away")), retry=ASIDE, refuse=too_large(RETRIES))
    given = guarded()
    await run(given)
    assert_buried(run, given, "RecordTooLarge")
    assert len(run.sends.on(OUTCOMES)) == 1


async def test_a_stage_that_may_work_until_the_deadline_says_so_to_the_watchdog() -> None:
    """The others are done within seconds."""
    assert (await Run(forward)(guarded())).allowed_s == 0
    assert (await Run(forward, until_deadline=True)(guarded())).allowed_s == 60


# ── replays ───────────────────────────────────────────────────────────────────────────────────────


def replay_of(given: Record, *, at: datetime, former: Headers = ()) -> Record:
    at_ms = int(at.timestamp() * 1000)
    headers = replayed(
        former or given.headers, record=given.address, timestamp_ms=given.timestamp_ms, at_ms=at_ms
    )
    return copy_of(Emit(topic="", key=None, value=given.value, headers=headers), given, timestamp_ms=at_ms)


async def test_a_replay_has_its_number_and_a_fresh_deadline() -> None:
    """The same time budget, from when it was replayed; when it was accepted does not change."""
    given = guarded(request=chat(deadline_ms=60_000))
    later = NOW + timedelta(days=1)
    run = Run(forward)
    run.clock.now = later
    await run(replay_of(given, at=later))
    sent = value(run.sends.sent[0]).envelope
    assert (sent.replay, sent.deadline_at, sent.accepted_at) == (1, later + timedelta(minutes=1), NOW)


async def test_a_second_replay_does_not_add_the_days_since_the_first() -> None:
    """An envelope that was replayed has a deadline that counts from that replay."""
    once = NOW + timedelta(days=1)
    given = guarded(request=chat(deadline_ms=60_000), replay=1, deadline_at=once + timedelta(minutes=1))
    twice = NOW + timedelta(days=2)
    first = replay_of(given, at=once)
    run = Run(forward)
    run.clock.now = twice
    await run(replay_of(given, at=twice, former=first.headers))
    sent = value(run.sends.sent[0]).envelope
    assert (sent.replay, sent.deadline_at) == (2, twice + timedelta(minutes=1))


async def test_a_replay_that_waits_for_redis_keeps_its_number_and_deadline() -> None:
    """A copy of a replay is a copy of the first record, replayed."""
    given, later = guarded(), NOW + timedelta(days=1)
    run = Run(failing(StoreUnavailable("away")), retry=ASIDE)
    run.clock.now = later
    await run(replay_of(given, at=later))
    copy = copy_of(run.sends.sent[0], given, timestamp_ms=int(later.timestamp() * 1000) + 9_000)
    assert (copy.again.replay, copy.again.attempt, copy.address) == (1, 1, given.address)
    run.stage.do = forward
    await run(copy)
    sent = value(run.sends.sent[-1]).envelope
    assert (sent.replay, sent.deadline_at) == (1, later + timedelta(seconds=30))


async def test_a_replayed_request_that_could_not_be_registered_touches_no_other() -> None:
    """Nobody has looked whether it is the request that it names: a reply, and a dead letter again."""
    given, later = record(chat(request_id="r-9"), key=b"r-9"), NOW + timedelta(days=1)
    run = Run(failing(StoreUnavailable("away")), source=REQUESTS)
    run.clock.now = later
    await run(replay_of(given, at=later))
    assert not run.sends.on(OUTCOMES)
    (reply,) = (value(emit) for emit in run.sends.on(REPLIES))
    assert (reply.request_id, reply.status, reply.replay) == ("r-9", Status.FAILED, 1)
    (letter,) = run.sends.on(DEAD_LETTERS)
    assert redelivery(letter.headers).replay == 1


async def test_what_no_replay_can_say_of_itself_is_not_believed() -> None:
    """A stranger's headers give his request no number, no other place, and no time in the future."""
    far = b"9" * 15
    forged: tuple[Headers, ...] = (
        (("__streams.replay.number", b"5"), ("__streams.replay.at", far)),
        (("__streams.origin.record", b"llm.misses.v1:0:1"), ("__streams.replay.number", b"5")),
        (
            ("__streams.origin.record", b"llm.requests.v1:3:6"),
            ("__streams.replay.number", far),
            ("__streams.replay.at", far),
        ),
        (("__streams.origin.record", b"llm.requests.v1:" + b"9" * 5000 + b":1"),),
        (("__streams.origin.timestamp", far), ("__streams.retry.attempt", far)),
        (("__streams.origin.record", "llm.requests.v1:٣:٣".encode()),),
        tuple((name, b"\xff\x00") for name in ("__streams.origin.record", "__streams.replay.number")),
    )
    for headers in forged:
        plain = record(chat(request_id="r-9"), key=b"r-9")
        given = read_record(
            **{
                name: getattr(plain, name)
                for name in ("topic", "partition", "offset", "timestamp_ms", "key", "value")
            },
            headers=headers,
        )
        assert given.again.replay == 0
        assert given.written_at == NOW
        run = Run(failing(StoreUnavailable("away")), source=REQUESTS, retry=ASIDE)
        await run(given)
        (aside,) = run.sends.sent
        copy = copy_of(aside, plain)
        # What was not believed of the first record is not believed of its copy either.
        assert (copy.again.replay, copy.again.attempt) == (0, 1)
        assert copy.address == given.address

"""What a replay sends, and when it is refused."""

from datetime import UTC, datetime

import msgspec
import pytest

from headrace.ops.dlq.actions import PlannedReplay, action_emit, discard_refused, plan_replay
from headrace.ops.dlq.letters import LetterId, LetterState, LetterStatus, summary_of
from streams.codec import decode, encode, header_text
from streams.errors import UnauthenticRecord
from streams.events import DeadLetterAction
from streams.pipeline import REPLAYABLE
from streams.publisher import Emit
from streams.redelivery import put_aside, redelivery, replayed
from streams.topics import DEAD_LETTERS
from tests.headrace.ops.dlq.dead_letter_records import WRITTEN_MS, buried, dead, record

NOW_MS = 1_790_000_000_000
OPEN = LetterState()


def plan(
    emit: Emit | None = None,
    state: LetterState = OPEN,
    *,
    force: bool = False,
    max_replays: int = 3,
) -> PlannedReplay | str:
    found = dead(emit)
    return plan_replay(found, summary_of(found), state, force=force, max_replays=max_replays, at_ms=NOW_MS)


def test_a_replay_is_the_record_as_it_came_and_says_what_it_stands_for() -> None:
    """Key, value and the sender's headers byte for byte; the errors are gone, the origin is named."""
    first = record()
    replay = plan(buried(first))
    assert isinstance(replay, PlannedReplay)
    emit = replay.emit
    assert (emit.topic, emit.key, emit.value) == ("llm.requests.v1", first.key, first.value)
    assert emit.partition == 2
    assert emit.headers[: len(first.headers)] == first.headers
    assert not [name for name, _ in emit.headers if name.startswith("__streams.errors.")]
    again = redelivery(emit.headers)
    assert (again.record, again.timestamp_ms) == ("llm.requests.v1:2:41", WRITTEN_MS)
    assert (again.replay, again.replayed_at_ms, again.attempt) == (1, NOW_MS, 0)
    assert replay.number == 1


def test_what_headrace_did_not_write_is_not_replayed() -> None:
    """A replay is signed: it would vouch for a letter, or a record, that somebody else wrote."""
    found = msgspec.structs.replace(dead(), authentic=False)
    refused = plan_replay(found, summary_of(found), OPEN, force=True, max_replays=3, at_ms=NOW_MS)
    assert isinstance(refused, str)
    assert "somebody else" in refused
    forged = buried(record(topic="llm.guarded.v1"), fault=UnauthenticRecord("Headrace has not written it"))
    refused = plan(forged, force=True)
    assert isinstance(refused, str)
    assert "vouch" in refused


def test_what_was_too_large_to_be_kept_is_named_by_its_place() -> None:
    """There it can be read for as long as its topic keeps it."""
    refused = plan(buried(record(b"x" * DEAD_LETTERS.max_bytes)))
    assert isinstance(refused, str)
    assert "llm.requests.v1:2:41" in refused


def test_a_webhook_can_be_sent_again() -> None:
    """Its receiver was away for longer than the tries last."""
    replay = plan(buried(record(topic="llm.webhooks.v1"), stage="webhooks"))
    assert isinstance(replay, PlannedReplay)
    assert replay.emit.topic == "llm.webhooks.v1"


def test_a_replay_that_died_again_gets_the_next_number_and_keeps_the_first_record() -> None:
    """However often it dies, it stands for the record that was there first."""
    emit = buried()
    for number in (1, 2, 3):
        replay = plan(emit)
        assert isinstance(replay, PlannedReplay)
        assert replay.number == number
        emit = buried(record(offset=100 + number, headers=replay.emit.headers))
        assert redelivery(emit.headers).record == "llm.requests.v1:2:41"
    assert isinstance(plan(emit), str)


def test_what_was_put_aside_goes_back_to_its_stage_and_may_be_put_aside_anew() -> None:
    """A replay of what died on the retry topic begins with no attempts behind it."""
    waiting = put_aside(record(topic="llm.misses.v1"), not_before_ms=1, reason="redis")
    replay = plan(buried(record(topic="llm.retries.v1", headers=waiting), stage="llm"))
    assert isinstance(replay, PlannedReplay)
    assert replay.emit.topic == "llm.misses.v1"
    assert redelivery(replay.emit.headers).attempt == 0
    assert redelivery(replay.emit.headers).record == "llm.misses.v1:2:41"


def test_replayed_again_without_a_recorded_action_it_is_the_same_replay() -> None:
    """That is what makes a crash before the record of the action harmless."""
    first, second = plan(), plan()
    assert isinstance(first, PlannedReplay)
    assert isinstance(second, PlannedReplay)
    assert first.emit == second.emit


@pytest.mark.parametrize("state", [LetterStatus.REPLAYED, LetterStatus.DISCARDED])
def test_what_was_dealt_with_is_refused_unless_forced(state: LetterStatus) -> None:
    """The refusal says so, and what to do."""
    refused = plan(state=LetterState(state))
    assert isinstance(refused, str)
    assert f"already {state.value}" in refused
    assert "--force" in refused
    assert isinstance(plan(state=LetterState(state), force=True), PlannedReplay)


def test_a_forced_replay_is_a_new_one() -> None:
    """It gets a number above those that were recorded, or the stages would take it for a repeat."""
    replay = plan(state=LetterState(LetterStatus.REPLAYED, 1), force=True)
    assert isinstance(replay, PlannedReplay)
    assert replay.number == redelivery(replay.emit.headers).replay == 2


@pytest.mark.parametrize(("before", "since"), [(3, 0), (2, 1), (0, 3)])
def test_the_cap_counts_replays_before_and_after_the_death_and_holds_for_the_forced(
    before: int,
    since: int,
) -> None:
    """A record that kills its stage cannot go round for ever."""
    headers = record().headers
    for _ in range(before):
        headers = replayed(headers, record="llm.requests.v1:2:41", timestamp_ms=1, at_ms=2)
    state = LetterState(LetterStatus.REPLAYED if since else LetterStatus.OPEN, since)
    refused = plan(buried(record(headers=headers)), state, force=True)
    assert isinstance(refused, str)
    assert "HEADRACE_MAX_REPLAYS is 3" in refused


@pytest.mark.parametrize(
    "topic",
    ["llm.ledger.v1", "llm.replies.v1", "llm.dead-letters.v1", "llm.retries.v1", "x"],
)
def test_a_forged_header_does_not_choose_the_topic(topic: str) -> None:
    """Only topics that a stage or the sink reads are written to."""
    assert topic not in REPLAYABLE
    assert isinstance(plan(buried(record(topic=topic))), str)


def test_a_number_that_its_sender_has_forged_is_not_counted() -> None:
    """The stages do not believe it either: a sender cannot keep an operator from replaying."""
    forged = (("__streams.replay.number", b"999"), ("__streams.origin.record", b"llm.ledger.v1:0:0"))
    replay = plan(buried(record(headers=forged)))
    assert isinstance(replay, PlannedReplay)
    assert replay.number == redelivery(replay.emit.headers).replay == 1
    assert redelivery(replay.emit.headers).record == "llm.requests.v1:2:41"


def test_a_letter_without_headers_is_refused() -> None:
    """Somebody else wrote it: nobody knows where it belongs."""
    bare = Emit(topic="llm.dead-letters.v1", key=None, value=None)
    refused = plan(bare)
    assert isinstance(refused, str)
    assert "where it died" in refused


@pytest.mark.parametrize(("key", "value"), [(None, b"v"), (b"k", None)])
def test_what_a_record_does_not_have_it_does_not_get(key: bytes | None, value: bytes | None) -> None:
    """None stays None, and does not become empty bytes."""
    replay = plan(buried(record(value, key=key)))
    assert isinstance(replay, PlannedReplay)
    assert (replay.emit.key, replay.emit.value) == (key, value)


def test_a_record_without_key_and_value_is_refused() -> None:
    """There is nothing to work on, and the producer does not send such records."""
    assert isinstance(plan(buried(record(None, key=None))), str)


def test_only_open_letters_are_discarded() -> None:
    """The others have their end already."""
    assert discard_refused(LetterState()) is None
    assert discard_refused(LetterState(LetterStatus.REPLAYED, 2)) == "already replayed 2 times"
    assert discard_refused(LetterState(LetterStatus.DISCARDED)) == "already discarded"


def test_an_action_says_who_did_what_to_which_letter_and_why() -> None:
    """The trail is readable without the letter; its key keeps the order."""
    at = datetime(2026, 11, 21, tzinfo=UTC)
    letter = summary_of(dead(letter_id=LetterId(3, 9)))
    emit = action_emit(letter, "replayed", by="ann", reason="redis is back", at=at)
    assert (emit.topic, emit.key) == ("llm.dead-letter-actions.v1", "3:9")
    assert isinstance(emit.value, DeadLetterAction)
    assert decode(encode(emit.value), DeadLetterAction, emit.headers) == DeadLetterAction(
        dead_letter="3:9",
        action="replayed",
        by="ann",
        at=at,
        reason="redis is back",
        request_id="r-1",
        topic="llm.requests.v1",
    )
    assert header_text(emit.headers, "ce_type") == "headrace.DeadLetterAction"

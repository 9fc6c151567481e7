"""The senders' own check."""

import pytest

from bench.chaos.ledger import Ledger
from bench.chaos.submissions import STREAMED, Answer, Channel, Kind, SeenReply, Submission

ANSWER = Answer.of("answered", None, "A mill.")


def _submission(number: str = "n1", kind: Kind = Kind.UNIQUE, **fields: object) -> Submission:
    defaults = {"channel": Channel.KAFKA, "sent_at": 1.0, "request_id": "r1"}
    return Submission(number=number, kind=kind, **(defaults | fields))  # type: ignore[arg-type]


def _reply(
    place: str = "t:0:0", correlation: str = "n1", answer: Answer = ANSWER, **fields: object
) -> SeenReply:
    defaults = {"topic": "mine", "request_id": "r1", "ce_id": "r1", "replay": 0, "repeat": False}
    return SeenReply(place=place, correlation=correlation, answer=answer, **(defaults | fields))  # type: ignore[arg-type]


def _ledger(*submissions: Submission) -> Ledger:
    ledger = Ledger("mine")
    for submission in submissions:
        ledger.sent(submission)
        ledger.accepted(submission.number, at=2.0, partition=0)
    return ledger


def _whats(ledger: Ledger) -> list[str]:
    return [finding.what for finding in ledger.verdict().findings]


def test_one_reply_balances() -> None:
    """An accepted submission with its one reply leaves nothing to find, and nothing in flight."""
    ledger = _ledger(_submission())
    assert ledger.in_flight == 1
    answered = ledger.replied(_reply(), at=3.0)
    assert answered is not None
    assert answered.answered_at == 3.0
    assert ledger.in_flight == 0
    assert ledger.verdict().balanced


def test_a_missing_reply_is_found() -> None:
    """What was accepted and never answered is lost."""
    assert _whats(_ledger(_submission())) == ["no reply"]


def test_what_was_never_acknowledged_needs_no_reply() -> None:
    """Without an acknowledgement nothing was promised."""
    ledger = Ledger("mine")
    ledger.sent(_submission())
    ledger.given_up("n1")
    assert ledger.verdict().balanced
    assert ledger.in_flight == 0


def test_a_repeat_that_a_reader_recognises_is_counted_and_no_fault() -> None:
    """Two records with the same id, correlation id and replay number are one reply to a reader."""
    ledger = _ledger(_submission())
    for place in ("t:0:0", "t:0:1"):
        ledger.replied(_reply(place), at=3.0)
    verdict = ledger.verdict()
    assert verdict.balanced
    assert (verdict.reply_records, verdict.repeated_records) == (2, 1)


def test_the_same_record_read_twice_counts_once() -> None:
    """The final sweep reads again what was read on the way."""
    ledger = _ledger(_submission())
    for _ in range(2):
        ledger.replied(_reply(), at=3.0)
    assert ledger.verdict().reply_records == 1


def test_a_second_reply_that_no_reader_recognises_is_found() -> None:
    """Another `ce_id` under the same correlation id is a second reply."""
    ledger = _ledger(_submission())
    ledger.replied(_reply(), at=3.0)
    ledger.replied(_reply("t:0:1", ce_id="other"), at=3.0)
    assert _whats(ledger) == ["more than one reply"]


def test_replies_that_say_different_things_are_found() -> None:
    """Even where a reader would drop the second as a repeat."""
    ledger = _ledger(_submission())
    ledger.replied(_reply(), at=3.0)
    ledger.replied(_reply("t:0:1", answer=Answer.of("answered", None, "Another.")), at=3.0)
    assert "contradiction" in _whats(ledger)


def test_twins_each_get_the_same_answer() -> None:
    """The same id twice: two submissions, two replies, one answer."""
    ledger = _ledger(_submission("n1", Kind.TWIN), _submission("n2", Kind.TWIN, first=False))
    ledger.replied(_reply("t:0:0", "n1"), at=3.0)
    assert _whats(ledger) == ["no reply"]
    ledger.replied(_reply("t:0:1", "n2", repeat=True), at=3.0)
    assert ledger.verdict().balanced


@pytest.mark.parametrize("code", ["idempotency_conflict", "other"])
def test_another_body_under_the_same_id_must_be_refused(code: str) -> None:
    """One of the two is answered, the other gets the conflict and nothing else."""
    ledger = _ledger(_submission("n1", Kind.CONFLICT), _submission("n2", Kind.CONFLICT, first=False))
    ledger.replied(_reply("t:0:0", "n1"), at=3.0)
    ledger.replied(_reply("t:0:1", "n2", Answer.of("failed", code, "")), at=3.0)
    assert ledger.verdict().balanced == (code == "idempotency_conflict")


@pytest.mark.parametrize("refused", [("n1",), ("n2",), ("n1", "n2"), ()])
def test_of_two_bodies_under_one_id_exactly_one_is_refused(refused: tuple[str, ...]) -> None:
    """Over Kafka either: the first one may have been put aside, and overtaken."""
    ledger = _ledger(_submission("n1", Kind.CONFLICT), _submission("n2", Kind.CONFLICT, first=False))
    conflict = Answer.of("failed", "idempotency_conflict", "")
    for place, number in enumerate(("n1", "n2")):
        ledger.replied(_reply(f"t:0:{place}", number, conflict if number in refused else ANSWER), at=3.0)
    assert ledger.verdict().balanced == (len(refused) == 1)


@pytest.mark.parametrize(
    ("kind", "answer", "allowed"),
    [
        (Kind.UNIQUE, Answer.of("failed", "deadline_exceeded", ""), False),
        (Kind.UNIQUE, Answer.of("degraded", None, "sorry"), True),
        (Kind.SHORT, Answer.of("failed", "deadline_exceeded", ""), True),
        (Kind.BLOCKED, ANSWER, False),
        (Kind.BLOCKED, Answer.of("blocked", "instruction_override", ""), True),
        (Kind.CANCELLED, Answer.of("cancelled", "cancelled", ""), True),
        (Kind.UNIQUE, Answer.of("cancelled", "cancelled", ""), False),
    ],
)
def test_the_reply_must_be_one_that_the_kind_allows(kind: Kind, answer: Answer, *, allowed: bool) -> None:
    """A request with a long deadline must be answered, whatever fails meanwhile."""
    ledger = _ledger(_submission(kind=kind))
    ledger.replied(_reply(answer=answer), at=3.0)
    assert ledger.verdict().balanced == allowed


def test_a_record_that_cannot_be_understood_must_be_a_dead_letter() -> None:
    """With its reply where an id can be read, without one where none can."""
    ledger = _ledger(_submission("n1", Kind.NOT_JSON), _submission("n2", Kind.GARBAGE, request_id=None))
    ledger.replied(_reply(answer=Answer.of("failed", "invalid_json", "")), at=3.0)
    assert _whats(ledger) == ["no dead letter", "no dead letter"]
    ledger.buried("n1")
    ledger.buried("n2")
    assert ledger.verdict().balanced
    assert ledger.in_flight == 0


def test_what_a_stream_said_is_what_the_reply_says() -> None:
    """Of a stream only the text is known, and it must be the reply's."""
    for text, balanced in (("A mill.", True), ("A mi", False)):
        ledger = _ledger(_submission(channel=Channel.STREAM, request_id=None))
        ledger.responded("n1", Answer.of(STREAMED, None, text), request_id="r1", at=3.0)
        ledger.replied(_reply(correlation="of ingest"), at=3.0)
        assert ledger.verdict().balanced == balanced


def test_an_http_answer_and_the_reply_record_must_agree() -> None:
    """What the client read is what the topic holds."""
    ledger = _ledger(_submission(channel=Channel.WHOLE, request_id=None))
    ledger.responded("n1", Answer.of("answered", None, "Something else."), request_id="r1", at=3.0)
    ledger.replied(_reply(correlation="of ingest"), at=3.0)
    assert _whats(ledger) == ["contradiction"]


def test_a_reply_on_another_topic_is_not_seen_by_its_sender() -> None:
    """It counts as missing, and the stray record is named."""
    ledger = _ledger(_submission())
    ledger.replied(_reply(topic="llm.replies.v1"), at=3.0)
    assert _whats(ledger) == ["reply on another topic", "no reply"]

"""From records to evidence, with the bytes that the stages write."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from agents.intake.intake import conflict_error
from headrace.ops.audit.evidence import NO_CORRELATION, AuditWindow, KafkaEvidence
from headrace.ops.audit.kafka_records import RecordCollector
from streams.codec import encode
from streams.errors import UndecodableRecord
from streams.events import (
    ChatRequested,
    DeadLetterAction,
    Embeddings,
    EmbeddingsRequested,
    ErrorInfo,
    Event,
    LedgerEntry,
    LlmCall,
    Reply,
    RequestLog,
    Status,
    Timing,
    Usage,
)
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.redelivery import Record, dead_letter, put_aside, replayed
from streams.registry.registry import TOO_MANY_REPEATS

AT_MS = 1_800_000_000_000
AT = datetime.fromtimestamp(AT_MS / 1000, UTC)
DEFAULT_DEADLINE_MS = 60_000
Headers = tuple[tuple[str, bytes], ...]


def record(
    topic: str,
    value: Event | bytes | None,
    *,
    key: bytes | None = None,
    headers: Headers = (),
    offset: int = 0,
    at_ms: int = AT_MS,
) -> ConsumerRecord[Any, Any]:
    data = encode(value) if isinstance(value, Event) else value
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=offset,
        timestamp=at_ms,
        timestamp_type=0,
        key=key,
        value=data,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=headers,
    )


@pytest.fixture
def evidence() -> KafkaEvidence:
    return KafkaEvidence()


@pytest.fixture
def collector(evidence: KafkaEvidence) -> RecordCollector:
    return RecordCollector(evidence, AuditWindow(since_ms=AT_MS), default_deadline_ms=DEFAULT_DEADLINE_MS)


def ask(**fields: Any) -> ChatRequested:
    return ChatRequested(user_id="ann", query="What is lye?", **fields)


def reply(**fields: Any) -> Reply:
    given: dict[str, Any] = {"request_id": "a", "status": Status.ANSWERED, "accepted_at": AT}
    return Reply(**(given | fields))


def test_what_headrace_did_not_write_is_in_no_book(evidence: KafkaEvidence) -> None:
    """It is counted, so that an operator hears of it; a request needs no code of ours."""
    auth = RecordAuth([b"k" * 32])
    collector = RecordCollector(
        evidence, AuditWindow(since_ms=AT_MS), default_deadline_ms=DEFAULT_DEADLINE_MS, auth=auth
    )
    collector.add(record("llm.requests.v1", encode(ask(request_id="a"))))
    for topic, event in (("llm.replies.v1", reply()), ("llm.ledger.v1", entry()), ("llm.ledger.v1", entry())):
        collector.add(record(topic, encode(event)))
    assert evidence.unauthentic == {"llm.replies.v1": 1, "llm.ledger.v1": 2}
    assert (evidence.terminals, evidence.charges) == ({}, {})
    assert list(evidence.requests) == ["a"]
    value = encode(entry())
    collector.add(record("llm.ledger.v1", value, headers=auth.signed("llm.ledger.v1", None, value, ())))
    assert list(evidence.charges) == ["a"]


def correlated(correlation: bytes) -> Headers:
    return (("kafka_correlationId", correlation),)


def entry(**fields: Any) -> LedgerEntry:
    given: dict[str, Any] = {
        "entry_id": "a:settle",
        "request_id": "a",
        "tenant": "t",
        "user_id": "u",
        "kind": "settle",
        "amount_usd": Decimal("0.000000001"),
        "booked_at": AT,
    }
    return LedgerEntry(**(given | fields))


@pytest.mark.parametrize(
    ("value", "headers", "key", "request_id"),
    [
        (ask(request_id="body"), (("ce_id", b"header"),), b"key", "body"),
        (ask(), (("ce_id", b"header"),), b"key", "header"),
        (ask(), (), b"key", "key"),
        (ask(), (), None, "llm.requests.v1-0-0"),
    ],
)
def test_a_request_has_the_id_that_the_guardrail_gives_it(
    collector: RecordCollector,
    evidence: KafkaEvidence,
    *,
    value: Event,
    headers: Headers,
    key: bytes | None,
    request_id: str,
) -> None:
    """From body, header, key, or place."""
    collector.add(record("llm.requests.v1", value, key=key, headers=headers))
    assert list(evidence.requests) == [request_id]


def test_embeddings_are_requests_on_a_topic_of_their_own(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """Accepted and malformed ones; vectors are part of what equal replies have in common."""
    asked = EmbeddingsRequested(user_id="ann", inputs=("x",), model="m", request_id="a", deadline_ms=5)
    collector.add(record("llm.embeddings.v1", asked, headers=correlated(b"c"), offset=3))
    collector.add(record("llm.embeddings.v1", b"{", key=b"b"))
    assert evidence.requests["a"].first.topic == "llm.embeddings.v1"
    assert (evidence.requests["a"].first.offset, evidence.requests["a"].deadline_ms) == (3, AT_MS + 5)
    assert [each.request_id for each in evidence.malformed.values()] == ["b"]
    for vectors in (b"1234", b"1234", b"5678"):
        made = Embeddings(count=1, dimensions=1, vectors=vectors)
        collector.add(record("llm.replies.v1", reply(embeddings=made), headers=correlated(b"c")))
    assert [each.times for each in evidence.terminals["a"]] == [2, 1]


@pytest.mark.parametrize(
    ("fields", "deadline_ms"),
    [
        ({}, AT_MS + DEFAULT_DEADLINE_MS),
        ({"deadline_ms": 5}, AT_MS + 5),
        ({"deadline_ms": 5, "accepted_at": datetime.fromtimestamp(AT_MS / 1000 - 2, UTC)}, AT_MS - 1_995),
        ({"deadline_ms": 5, "accepted_at": datetime.fromtimestamp(AT_MS / 1000 + 2, UTC)}, AT_MS + 5),
    ],
)
def test_a_deadline_counts_from_the_acceptance(
    collector: RecordCollector,
    evidence: KafkaEvidence,
    fields: dict[str, Any],
    deadline_ms: int,
) -> None:
    """Which is never later than the record."""
    collector.add(record("llm.requests.v1", ask(**fields), key=b"a"))
    assert evidence.requests["a"].deadline_ms == deadline_ms


def test_the_same_id_again_is_one_more_submission(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """With the same correlation id it is the same submission."""
    for offset, correlation in enumerate((b"1", b"2", b"2")):
        collector.add(
            record("llm.requests.v1", ask(), key=b"a", headers=correlated(correlation), offset=offset),
        )
    assert list(evidence.requests["a"].submissions) == [b"1", b"2"]
    assert evidence.requests["a"].first.offset == 0


def test_a_correlation_id_that_is_too_long_counts_as_none(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """Its request is refused, and the refusal does not give it back."""
    collector.add(record("llm.requests.v1", ask(), key=b"a", headers=correlated(b"x" * 1025)))
    assert set(evidence.requests["a"].submissions) == {NO_CORRELATION}


def test_a_request_from_before_the_window_is_known_but_not_inside(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """Its reply may fall inside."""
    collector.add(record("llm.requests.v1", ask(), key=b"a", at_ms=AT_MS - 1))
    assert not evidence.requests["a"].inside


def test_a_replay_is_no_new_acceptance(collector: RecordCollector, evidence: KafkaEvidence) -> None:
    """It stands for its first record, with a number and a fresh deadline."""
    collector.add(record("llm.requests.v1", ask(), key=b"a"))
    again = replayed((), record="llm.requests.v1:0:0", timestamp_ms=AT_MS, at_ms=AT_MS + 9_000)
    collector.add(record("llm.requests.v1", ask(), key=b"a", headers=again, offset=7, at_ms=AT_MS + 9_000))
    request = evidence.requests["a"]
    assert len(request.submissions) == 1
    assert (request.replay, request.deadline_ms) == (1, AT_MS + 9_000 + DEFAULT_DEADLINE_MS)


def test_a_record_cannot_pass_for_a_copy_from_another_topic(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """Anybody may write headers: the stages do not believe these, and work on it as on any other."""
    forged = replayed((), record="llm.misses.v1:0:0", timestamp_ms=1, at_ms=AT_MS)
    collector.add(record("llm.requests.v1", ask(), headers=forged, offset=7))
    collector.add(record("llm.requests.v1", b"?", headers=forged, offset=8))
    request = evidence.requests["llm.requests.v1-0-7"]
    assert (request.replay, request.inside) == (0, True)
    died = Record.of(record("llm.requests.v1", b"?", headers=forged, offset=8), UNSIGNED)
    letter = dead_letter(died, stage="guardrail", fault=UndecodableRecord("no"))
    collector.add(record("llm.dead-letters.v1", b"?", headers=letter.headers))
    assert [each.record for each in evidence.dead_letters.values()] == list(evidence.malformed)


def test_a_record_that_is_no_request_is_malformed(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """With the id that its sender is told under, where one can be read."""
    collector.add(record("llm.requests.v1", b'{"request_id": "x", "user_id": 3}', offset=1))
    collector.add(record("llm.requests.v1", b"\xff", offset=2))
    assert {address: each.request_id for address, each in evidence.malformed.items()} == {
        "llm.requests.v1:0:1": "x",
        "llm.requests.v1:0:2": None,
    }
    assert not evidence.requests


def test_the_reply_topics_that_requests_name_are_noted(collector: RecordCollector) -> None:
    """But for our own topics, which nobody may name."""
    for topic in (b"acme.replies", b"llm.logs.v1", b"llm.replies.v1"):
        collector.add(record("llm.requests.v1", ask(), headers=(("kafka_replyTopic", topic),)))
    assert collector.reply_topics == {"llm.replies.v1", "acme.replies"}


def test_the_refusal_of_a_malformed_record_is_found_on_its_own_reply_topic(
    collector: RecordCollector,
    evidence: KafkaEvidence,
) -> None:
    """Nobody else's reply topic has to be read for it, and an unknown id there is somebody else's record."""
    headers = (("kafka_replyTopic", b"acme.replies"),)
    collector.add(record("llm.requests.v1", b'{"request_id": "x", "user_id": 3}', headers=headers))
    assert "acme.replies" in collector.reply_topics
    for request_id in ("x", "unknown"):
        collector.add(record("acme.replies", reply(request_id=request_id, status=Status.FAILED)))
    assert list(evidence.terminals) == ["x"]


def test_replies_that_differ_only_in_their_timings_are_the_same(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """A reply that is sent again after a crash has other timings."""
    timing = Timing(stage="cost", started_at=AT, queue_us=1, work_us=1, outcome="answered")
    for each in (reply(content="hi"), reply(content="hi", timings=(timing,))):
        collector.add(record("llm.replies.v1", each))
    assert [each.times for each in evidence.terminals["a"]] == [2]


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "ho"},
        {"status": Status.DEGRADED},
        {"cost_usd": Decimal("0.000000001")},
        {"error": ErrorInfo(type="t", code="c", message="m")},
        {"tool_calls": ({"id": "1"},)},
    ],
)
def test_replies_that_say_something_else_are_kept_apart(
    collector: RecordCollector,
    evidence: KafkaEvidence,
    fields: dict[str, Any],
) -> None:
    """Content, status, cost, error: what a reader acts on."""
    collector.add(record("llm.replies.v1", reply()))
    collector.add(record("llm.replies.v1", reply(**fields)))
    assert len(evidence.terminals["a"]) == 2


@pytest.mark.parametrize("code", [conflict_error("a").code, TOO_MANY_REPEATS])
def test_repeats_and_refusals_answer_submissions_and_end_nothing(
    collector: RecordCollector, evidence: KafkaEvidence, code: str
) -> None:
    """They are no terminal replies of the request."""
    collector.add(record("llm.replies.v1", reply(repeat=True), headers=correlated(b"1")))
    refusal = Reply(request_id="a", status=Status.FAILED, error=ErrorInfo(type="", code=code, message=""))
    collector.add(record("llm.replies.v1", refusal, headers=correlated(b"2")))
    assert evidence.answers == {"a": {b"1", b"2"}}
    assert evidence.repeated == {"a": AT_MS}
    assert evidence.conflicts == 1
    assert not evidence.terminals


def test_other_records_on_somebody_elses_reply_topic_are_passed_over(
    collector: RecordCollector,
    evidence: KafkaEvidence,
) -> None:
    """Only replies to our requests count there."""
    collector.add(record("acme.replies", reply()))
    assert not evidence.terminals
    collector.add(record("llm.requests.v1", ask(), key=b"a"))
    collector.add(record("acme.replies", reply()))
    assert list(evidence.terminals) == ["a"]


@pytest.mark.parametrize(
    ("entries", "amount_nano", "times", "contradictory"),
    [
        ([entry(), entry()], 1, 2, False),
        ([entry(), entry(amount_usd=Decimal("0.5"))], 1, 2, True),
        ([entry(), entry(amount_usd=Decimal("0.5"), replay=1)], 500_000_000, 1, False),
        ([entry(amount_usd=Decimal("0.5"), replay=1), entry()], 500_000_000, 1, False),
    ],
)
def test_a_settle_entry_states_the_whole(
    collector: RecordCollector,
    evidence: KafkaEvidence,
    *,
    entries: list[LedgerEntry],
    amount_nano: int,
    times: int,
    contradictory: bool,
) -> None:
    """The highest replay counts; the same replay with another amount is a contradiction."""
    for each in entries:
        collector.add(record("llm.ledger.v1", each))
    (charge,) = evidence.charges["a"]
    assert (charge.amount_nano, charge.times, charge.contradictory) == (amount_nano, times, contradictory)


def test_reservations_are_no_charges(collector: RecordCollector, evidence: KafkaEvidence) -> None:
    """Only what is settled was spent."""
    collector.add(record("llm.ledger.v1", entry(kind="reserve")))
    assert not evidence.charges


def test_a_log_record_is_kept_with_its_place_and_its_calls(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """The place tells whether the sink has come to it."""
    call = LlmCall(
        call_id="c",
        attempt=1,
        provider="openai",
        request_model="gpt-4o",
        started_at=AT,
        duration_us=1,
        usage=Usage(),
        cost_usd=Decimal("0.25"),
        price_version="1",
    )
    log = RequestLog(
        request_id="a",
        tenant="t",
        user_id="u",
        tier="s",
        accepted_at=AT,
        finished_at=AT,
        status=Status.ANSWERED,
        latency_ms=1,
        cost_usd=Decimal("0.25"),
        calls=(call,),
    )
    collector.add(record("llm.logs.v1", log, offset=4))
    kept = evidence.logs["a"]
    assert (kept.offset, kept.accepted_at_ms, kept.call_ids) == (4, AT_MS, ("c",))


def test_a_dead_letter_names_the_record_that_died(
    collector: RecordCollector, evidence: KafkaEvidence
) -> None:
    """Of a copy that was retried or replayed: its first record."""
    for offset, headers in enumerate(
        ((), replayed((), record="llm.requests.v1:0:3", timestamp_ms=AT_MS, at_ms=AT_MS)),
    ):
        died = Record.of(record("llm.requests.v1", b"?", key=b"a", headers=headers, offset=9), UNSIGNED)
        letter = dead_letter(died, stage="guardrail", fault=UndecodableRecord("no"))
        collector.add(record("llm.dead-letters.v1", b"?", key=b"a", headers=letter.headers, offset=offset))
    letters = evidence.dead_letters
    assert [each.record for each in letters.values()] == ["llm.requests.v1:0:9", "llm.requests.v1:0:3"]
    assert {each.request_id for each in letters.values()} == {"a"}
    action = DeadLetterAction(dead_letter="0:0", action="discarded", by="ann", at=AT)
    collector.add(record("llm.dead-letter-actions.v1", action))
    assert evidence.actions == {"0:0"}


def test_what_waits_on_the_retry_topic_is_noted(collector: RecordCollector, evidence: KafkaEvidence) -> None:
    """With its request, and when it is due."""
    first = Record.of(record("llm.misses.v1", b"{}", key=b"a"), UNSIGNED)
    headers = put_aside(first, not_before_ms=AT_MS + 5, reason="Redis is away")
    collector.add(record("llm.retries.v1", b"{}", key=b"a", headers=headers, offset=2))
    (retry,) = evidence.retries
    assert (retry.request_id, retry.not_before_ms, retry.offset) == ("a", AT_MS + 5, 2)


@pytest.mark.parametrize("topic", ["llm.replies.v1", "llm.logs.v1", "llm.ledger.v1"])
@pytest.mark.parametrize("value", [None, b"?", b"{}", b'{"request_id": "\xff"}'])
def test_what_is_no_event_is_counted_and_does_not_stop_the_audit(
    collector: RecordCollector,
    evidence: KafkaEvidence,
    topic: str,
    value: bytes | None,
) -> None:
    """Anybody may have written it."""
    collector.add(record(topic, value))
    assert evidence.undecodable == {topic: 1}

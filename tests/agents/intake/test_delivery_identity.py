"""What a delivery stands for: its id, its submission, its deadline."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.intake.envelopes import open_envelope, request_id_of, submission_origin, with_replay
from agents.stage import Record
from streams.events import ChatRequested, ReplyAddress, RequestGuarded
from streams.redelivery import Headers, replayed
from streams.registry.registry import correlation_origin
from tests.fakes.envelopes import NOW, chat, envelope, record
from tests.fakes.records import read_record


@pytest.mark.parametrize(
    ("in_body", "ce_id", "key", "found"),
    [
        ("body", b"header", b"key", "body"),
        (None, b"header", b"key", "header"),
        (None, b"", b"key", "key"),
        (None, None, b"key", "key"),
        (None, b"\xff", b"\xff", "llm.requests.v1-3-7"),
        (None, None, b"", "llm.requests.v1-3-7"),
        (None, None, None, "llm.requests.v1-3-7"),
    ],
)
def test_where_the_id_comes_from(
    in_body: str | None, ce_id: bytes | None, key: bytes | None, found: str
) -> None:
    """From the body, the CloudEvents id, the key, or last the record's own place in the log."""
    request = chat(request_id=in_body)
    given = record(request, key=key, headers=[("ce_id", ce_id)] if ce_id is not None else [])
    assert request_id_of(given, request) == found


def test_the_same_record_always_has_the_same_id_and_another_place_another() -> None:
    """However often it is delivered, and at whatever time it was written."""
    request = chat()
    ids = {request_id_of(record(request), request) for _ in range(3)}
    assert ids == {request_id_of(record(request, timestamp_ms=1), request)}
    assert request_id_of(record(request, offset=8), request) not in ids


def test_two_submissions_differ_and_a_redelivery_does_not() -> None:
    """By correlation id where there is one, or else by place."""
    address = ReplyAddress(topic="t", correlation_id=b"\x01")
    assert submission_origin(record(offset=1), address) == correlation_origin(b"\x01")
    assert submission_origin(record(offset=2), address) == correlation_origin(b"\x01")
    bare = ReplyAddress(topic="t")
    assert submission_origin(record(offset=1), bare) == "record:llm.requests.v1:3:1"


def test_an_id_that_cannot_be_told_is_none() -> None:
    """The request is known by its place then, in its reply as in the audit."""
    given = record(chat(), key=b"k" * 257, headers=[("ce_id", b"\x07")])
    assert request_id_of(given, chat()) == "llm.requests.v1-3-7"
    assert request_id_of(given) is None


def test_a_broken_record_whose_sender_waits_has_its_place_for_an_id() -> None:
    """Else nobody could be told."""
    given = record(b"{", headers=[("kafka_replyTopic", b"orders.replies")])
    assert request_id_of(given) == "llm.requests.v1-3-7"


def copy(request: ChatRequested, *, replay: int = 1, at: datetime = NOW + timedelta(days=1)) -> Record:
    """A replay of the record at offset 7, as it is read."""
    first = record(request)
    at_ms = int(at.timestamp() * 1000)
    headers: Headers = ()
    for _ in range(replay):
        headers = replayed(headers, record=first.address, timestamp_ms=first.timestamp_ms, at_ms=at_ms)
    return read_record(
        topic=first.topic,
        partition=0,
        offset=99,
        timestamp_ms=at_ms + 5,
        key=None,
        value=first.value,
        headers=headers,
    )


def test_a_replay_is_the_same_request_with_a_fresh_deadline() -> None:
    """Same id, accepted when it was; the same time, counted from the replay."""
    request = chat(deadline_ms=5_000)
    given = copy(request)
    made = open_envelope(given, request, reply_to=ReplyAddress(topic="t"), default_deadline_ms=1)
    assert (made.request_id, made.accepted_at) == ("llm.requests.v1-3-7", NOW)
    assert (made.replay, made.deadline_at) == (1, NOW + timedelta(days=1, seconds=5))


def test_a_replay_is_a_submission_of_its_own() -> None:
    """Each number once; a copy of the same number is the same submission."""
    for address in (ReplyAddress(topic="t"), ReplyAddress(topic="t", correlation_id=b"\x01")):
        origins = [submission_origin(copy(chat(), replay=number), address) for number in (1, 1, 2)]
        first = submission_origin(record(chat()), address)
        assert origins[0] == origins[1]
        assert len({first, *origins}) == 3


def test_an_envelope_learns_of_its_replay_once() -> None:
    """What a replay was told before (a copy that was put aside) stays as it is."""
    request = chat(deadline_ms=5_000)
    event = RequestGuarded(envelope=envelope(request))
    once: Any = with_replay(event, copy(request), default_deadline_ms=1)
    assert (once.envelope.replay, once.envelope.deadline_at) == (1, NOW + timedelta(days=1, seconds=5))
    assert with_replay(once, copy(request), default_deadline_ms=1) is once
    assert with_replay(event, record(event), default_deadline_ms=1) is event
    assert with_replay(request, copy(request), default_deadline_ms=1) is request

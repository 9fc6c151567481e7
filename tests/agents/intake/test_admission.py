"""From a record to an envelope."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.intake import admission
from agents.stage import Record
from streams.codec import encode
from streams.errors import InvalidRequest
from streams.events import MAX_DEADLINE_MS, ChatRequested, Reply, ReplyAddress, RequestGuarded, Status
from streams.pipeline import TOPICS
from streams.redelivery import Headers, replayed
from streams.registry.registry import correlation_origin
from streams.topics import REPLIES
from tests.agents.cost.calls import llm_call
from tests.fakes.envelopes import NOW, chat, envelope, record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

HEADERS = [
    ("kafka_replyTopic", b"orders.replies"),
    ("kafka_replyPartition", b"\x00\x00\x01\x02"),
    ("kafka_correlationId", b"\x00\xff"),
]


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
    assert admission.request_id_of(given, request) == found


def test_the_same_record_always_has_the_same_id_and_another_place_another() -> None:
    """However often it is delivered, and at whatever time it was written."""
    request = chat()
    ids = {admission.request_id_of(record(request), request) for _ in range(3)}
    assert ids == {admission.request_id_of(record(request, timestamp_ms=1), request)}
    assert admission.request_id_of(record(request, offset=8), request) not in ids


def test_springs_headers_say_where_the_reply_goes() -> None:
    """The partition is four bytes, big-endian; the correlation id any bytes."""
    address = admission.reply_address(record(chat(), headers=HEADERS), ("orders.replies",))
    assert address == ReplyAddress(topic="orders.replies", partition=258, correlation_id=b"\x00\xff")


@pytest.mark.parametrize("partition", [b"", b"\x01", b"1234567", b"12345"])
def test_a_partition_that_is_no_integer_is_left_out(partition: bytes) -> None:
    """Some client wrote it as text: the broker chooses one by the key."""
    given = record(chat(), headers=[("kafka_replyPartition", partition)])
    assert admission.reply_address(given, ()).partition is None


def test_without_headers_the_reply_goes_to_our_own_topic() -> None:
    """Senders find it there by its key."""
    assert admission.reply_address(record(chat()), ()) == ReplyAddress(topic=REPLIES.name)


@pytest.mark.parametrize(
    ("topic", "allowed", "is_allowed"),
    [
        ("orders.replies", (), False),
        ("orders.replies", ("orders.replies",), True),
        ("orders.replies", ("*.replies",), True),
        ("orders.replies.eu", ("*.replies",), False),
        ("Orders.replies", ("orders.*",), False),
        (REPLIES.name, (), True),
        *((topic.name, ("*", topic.name), topic is REPLIES) for topic in TOPICS.values()),
        ("__consumer_offsets", ("*",), False),
        ("_schemas", ("*", "_schemas"), False),
    ],
)
def test_only_topics_on_the_allow_list_may_be_named(
    topic: str, allowed: tuple[str, ...], is_allowed: bool
) -> None:
    """Never one of our own, whatever the patterns say: a reply there would be taken for an event."""
    given = record(chat(), headers=[("kafka_replyTopic", topic.encode())])
    if is_allowed:
        assert admission.reply_address(given, allowed).topic == topic
        return
    mend = "it is an internal topic" if topic.startswith(("llm.", "_")) else "add it to HEADRACE_REPLY_TOPICS"
    with pytest.raises(InvalidRequest, match=mend) as caught:
        admission.reply_address(given, allowed)
    assert (caught.value.code, caught.value.param) == ("reply_topic_not_allowed", "kafka_replyTopic")


def test_a_reply_carries_the_correlation_id_to_the_partition() -> None:
    """Spring's template finds its waiting future by it."""
    reply = Reply(request_id="r-1", status=Status.ANSWERED)
    emit = admission.reply_emit(reply, ReplyAddress(topic="t", partition=4, correlation_id=b"c"))
    assert (emit.topic, emit.partition, emit.key) == ("t", 4, "r-1")
    assert emit.headers == (("kafka_correlationId", b"c"),)
    assert admission.reply_emit(reply, ReplyAddress(topic="t")).headers == ()
    home = admission.to_own_topic(emit)
    assert (home.topic, home.partition, home.headers) == (REPLIES.name, None, emit.headers)


def test_two_submissions_differ_and_a_redelivery_does_not() -> None:
    """By correlation id where there is one, or else by place."""
    address = ReplyAddress(topic="t", correlation_id=b"\x01")
    assert admission.submission_origin(record(offset=1), address) == correlation_origin(b"\x01")
    assert admission.submission_origin(record(offset=2), address) == correlation_origin(b"\x01")
    bare = ReplyAddress(topic="t")
    assert admission.submission_origin(record(offset=1), bare) == "record:llm.requests.v1:3:1"


@pytest.mark.parametrize("topic", ["a b", "ä", "x" * 250, "..", "orders\n"])
def test_what_is_no_topics_name_is_never_asked_for(topic: str) -> None:
    """A broker would have to be asked about it, and the client would remember the name."""
    given = record(chat(), headers=[("kafka_replyTopic", topic.encode())])
    with pytest.raises(InvalidRequest) as caught:
        admission.reply_address(given, ("*",))
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"headers": [("h", b"x")] * 65}, "headers_too_large", "headers"),
        ({"headers": [("h", b"x" * 16_385)]}, "headers_too_large", "headers"),
        (
            {"headers": [("kafka_correlationId", b"c" * 1_025)]},
            "correlation_id_too_long",
            "kafka_correlationId",
        ),
        ({"headers": [("ce_id", b"i" * 257)]}, "invalid_request_id", "ce_id"),
        ({"headers": [("ce_id", b"line\n")]}, "invalid_request_id", "ce_id"),
        ({"key": b"k" * 257}, "invalid_request_id", "key"),
        ({"key": b"nul\x00"}, "invalid_request_id", "key"),
    ],
)
def test_what_is_written_around_a_request_is_bounded(fields: dict[str, Any], code: str, param: str) -> None:
    """It would be kept in Redis, and travel with every record of the request."""
    with pytest.raises(InvalidRequest) as caught:
        admission.check_entrance(record(chat(), **fields), chat(), now=NOW)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_what_others_need_is_within_the_bounds() -> None:
    """Spring's headers, a service mesh's, and ids as long as anybody has them."""
    headers = [("kafka_correlationId", b"c" * 1_024), ("ce_id", b"i" * 256), ("baggage", b"b" * 8_192)]
    admission.check_entrance(record(chat(), key=b"k" * 256, headers=headers), chat(), now=NOW)


def test_deep_free_form_fields_are_refused_before_they_are_encoded() -> None:
    """Encoding them would end in a recursion error, and the sender would be told of a bug."""
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest) as caught:
        admission.check_entrance(record(chat()), chat(metadata=deep), now=NOW)
    assert caught.value.param == "metadata"


def test_an_id_that_cannot_be_told_is_none() -> None:
    """The request is known by its place then, in its reply as in the audit."""
    given = record(chat(), key=b"k" * 257, headers=[("ce_id", b"\x07")])
    assert admission.request_id_of(given, chat()) == "llm.requests.v1-3-7"
    assert admission.request_id_of(given) is None


def test_a_broken_record_whose_sender_waits_has_its_place_for_an_id() -> None:
    """Else nobody could be told."""
    given = record(b"{", headers=[("kafka_replyTopic", b"orders.replies")])
    assert admission.request_id_of(given) == "llm.requests.v1-3-7"


def test_a_trace_context_of_any_other_shape_is_left_out() -> None:
    """It would travel on in the headers of every record."""
    given = record(chat(), key=b"r-1", headers=[("traceparent", b"x" * 10_000)])
    made = admission.open_envelope(given, chat(), reply_to=ReplyAddress(topic="t"), default_deadline_ms=1)
    assert made.traceparent is None


def test_an_internal_event_that_does_not_decode_still_says_whose_it_is() -> None:
    """And what was spent on it: its sender is told, and the spend is booked."""
    spent = envelope(calls=(llm_call(),), reply_to=ReplyAddress(topic="orders.replies", correlation_id=b"c"))
    broken = msgspec.json.decode(encode(RequestGuarded(envelope=spent)))
    broken["envelope"]["request"] = {"user_id": 5}
    found = admission.salvaged_envelope(msgspec.json.encode(broken))
    assert found is not None
    assert (found.request_id, found.tenant, found.reply_to) == (
        spent.request_id,
        spent.tenant,
        spent.reply_to,
    )
    assert found.calls == spent.calls
    broken["envelope"]["calls"] = [{"call_id": 1}]
    found = admission.salvaged_envelope(msgspec.json.encode(broken))
    assert found is not None
    assert found.calls == ()
    assert admission.salvaged_envelope(b'{"envelope": {}}') is None
    assert admission.salvaged_envelope(None) is None


def test_an_envelope_of_a_bare_request() -> None:
    """Defaults for whose it is; the record's time as the time it was accepted."""
    given = record(chat(), key=b"r-1", headers=[("traceparent", TRACEPARENT.encode())])
    made = admission.open_envelope(
        given, chat(), reply_to=ReplyAddress(topic="t"), default_deadline_ms=60_000
    )
    assert (made.request_id, made.tenant, made.tier, made.traceparent) == (
        "r-1",
        "default",
        "standard",
        TRACEPARENT,
    )
    assert (made.accepted_at, made.deadline_at) == (NOW, NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("accepted_at", "taken"),
    [
        (NOW - timedelta(seconds=2), NOW - timedelta(seconds=2)),
        (NOW + timedelta(days=1), NOW),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), NOW),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_request_is_accepted_before_its_record_is_written(accepted_at: datetime, taken: datetime) -> None:
    """A sender cannot put its deadline off by dating its request into the future, nor upset the calendar."""
    request = chat(accepted_at=accepted_at, deadline_ms=5_000)
    made = admission.open_envelope(
        record(request), request, reply_to=ReplyAddress(topic="t"), default_deadline_ms=60_000
    )
    assert (made.accepted_at, made.deadline_at) == (taken, taken + timedelta(seconds=5))


@pytest.mark.parametrize("timestamp_ms", [-1, 2**62, -(2**62)])
def test_a_timestamp_that_is_no_date_is_survived(timestamp_ms: int) -> None:
    """Producers choose them; the request is late, and no stage stops."""
    given = msgspec.structs.replace(record(chat()), timestamp_ms=timestamp_ms)
    made = admission.open_envelope(
        given, chat(), reply_to=ReplyAddress(topic="t"), default_deadline_ms=60_000
    )
    assert made.deadline_at.year <= 1970


# ── replays ───────────────────────────────────────────────────────────────────────────────────────


def copy(request: ChatRequested, *, replay: int = 1, at: datetime = NOW + timedelta(days=1)) -> Record:
    """A replay of the record at offset 7, as it is read."""
    first = record(request)
    at_ms = int(at.timestamp() * 1000)
    headers: Headers = ()
    for _ in range(replay):
        headers = replayed(headers, record=first.address, timestamp_ms=first.timestamp_ms, at_ms=at_ms)
    return Record.read(
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
    made = admission.open_envelope(given, request, reply_to=ReplyAddress(topic="t"), default_deadline_ms=1)
    assert (made.request_id, made.accepted_at) == ("llm.requests.v1-3-7", NOW)
    assert (made.replay, made.deadline_at) == (1, NOW + timedelta(days=1, seconds=5))


def test_a_replay_is_a_submission_of_its_own() -> None:
    """Each number once; a copy of the same number is the same submission."""
    for address in (ReplyAddress(topic="t"), ReplyAddress(topic="t", correlation_id=b"\x01")):
        origins = [admission.submission_origin(copy(chat(), replay=number), address) for number in (1, 1, 2)]
        first = admission.submission_origin(record(chat()), address)
        assert origins[0] == origins[1]
        assert len({first, *origins}) == 3


def test_an_envelope_learns_of_its_replay_once() -> None:
    """What a replay was told before (a copy that was put aside) stays as it is."""
    request = chat(deadline_ms=5_000)
    event = RequestGuarded(envelope=envelope(request))
    once: Any = admission.renewed(event, copy(request), default_deadline_ms=1)
    assert (once.envelope.replay, once.envelope.deadline_at) == (1, NOW + timedelta(days=1, seconds=5))
    assert admission.renewed(once, copy(request), default_deadline_ms=1) is once
    assert admission.renewed(event, record(event), default_deadline_ms=1) is event
    assert admission.renewed(request, copy(request), default_deadline_ms=1) is request


@pytest.mark.parametrize("timestamp_ms", [253_402_300_799_999, 2**62, -1])
def test_no_date_of_a_record_makes_a_deadline_overflow(timestamp_ms: int) -> None:
    """The end of the calendar, and what lies beyond."""
    request = chat(deadline_ms=MAX_DEADLINE_MS)
    given = msgspec.structs.replace(record(request), timestamp_ms=timestamp_ms)
    made = admission.open_envelope(given, request, reply_to=ReplyAddress(topic="t"), default_deadline_ms=1)
    assert made.deadline_at.year == 1970

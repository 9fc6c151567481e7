"""Where replies go, and which topics senders may name."""

import pytest

from agents.intake.replies import reply_address, reply_emit, to_own_topic
from streams.errors import InvalidRequest
from streams.events import Reply, ReplyAddress, Status
from streams.pipeline import TOPICS
from streams.topics import REPLIES
from tests.fakes.envelopes import chat, record

HEADERS = [
    ("kafka_replyTopic", b"orders.replies"),
    ("kafka_replyPartition", b"\x00\x00\x01\x02"),
    ("kafka_correlationId", b"\x00\xff"),
]


def test_springs_headers_say_where_the_reply_goes() -> None:
    """The partition is four bytes, big-endian; the correlation id any bytes."""
    address = reply_address(record(chat(), headers=HEADERS), ("orders.replies",))
    assert address == ReplyAddress(topic="orders.replies", partition=258, correlation_id=b"\x00\xff")


@pytest.mark.parametrize("partition", [b"", b"\x01", b"1234567", b"12345"])
def test_a_partition_that_is_no_integer_is_left_out(partition: bytes) -> None:
    """Some client wrote it as text: the broker chooses one by the key."""
    given = record(chat(), headers=[("kafka_replyPartition", partition)])
    assert reply_address(given, ()).partition is None


def test_without_headers_the_reply_goes_to_our_own_topic() -> None:
    """Senders find it there by its key."""
    assert reply_address(record(chat()), ()) == ReplyAddress(topic=REPLIES.name)


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
        assert reply_address(given, allowed).topic == topic
        return
    mend = "it is an internal topic" if topic.startswith(("llm.", "_")) else "add it to HEADRACE_REPLY_TOPICS"
    with pytest.raises(InvalidRequest, match=mend) as caught:
        reply_address(given, allowed)
    assert (caught.value.code, caught.value.param) == ("reply_topic_not_allowed", "kafka_replyTopic")


def test_a_reply_carries_the_correlation_id_to_the_partition() -> None:
    """Spring's template finds its waiting future by it."""
    reply = Reply(request_id="r-1", status=Status.ANSWERED)
    emit = reply_emit(reply, ReplyAddress(topic="t", partition=4, correlation_id=b"c"))
    assert (emit.topic, emit.partition, emit.key) == ("t", 4, "r-1")
    assert emit.headers == (("kafka_correlationId", b"c"),)
    assert reply_emit(reply, ReplyAddress(topic="t")).headers == ()
    home = to_own_topic(emit)
    assert (home.topic, home.partition, home.headers) == (REPLIES.name, None, emit.headers)


@pytest.mark.parametrize("topic", ["a b", "ä", "x" * 250, "..", "orders\n"])
def test_what_is_no_topics_name_is_never_asked_for(topic: str) -> None:
    """A broker would have to be asked about it, and the client would remember the name."""
    given = record(chat(), headers=[("kafka_replyTopic", topic.encode())])
    with pytest.raises(InvalidRequest) as caught:
        reply_address(given, ("*",))
    assert len(caught.value.message) < 400

"""What is read from the headers of a dead letter."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.stage import Record
from headrace.ops.dlq.letters import LetterId, summary_of
from streams.errors import InputError
from streams.publisher import Emit
from streams.redelivery import put_aside, replayed
from tests.headrace.ops.dlq.dead_letter_records import DIED_MS, WRITTEN_MS, buried, dead, record


def test_a_place_is_read_as_it_is_written() -> None:
    """Ids go through shells and logs and come back the same."""
    assert LetterId.parse("2:41") == LetterId(2, 41)
    assert str(LetterId.parse("2:41")) == "2:41"


@pytest.mark.parametrize(
    "text",
    ["", "2", "2:", ":1", "-1:3", "a:b", "1:2:3", "٣:١", "1: 2", "1:" + "9" * 19],
)
def test_what_is_no_place_is_told_what_one_looks_like(text: str) -> None:
    """Negative, foreign and overlong numbers are none."""
    with pytest.raises(InputError, match="partition:offset"):
        LetterId.parse(text)


def test_a_letter_says_why_and_where_the_record_died() -> None:
    """All of it comes from the headers that the runner has added."""
    letter = summary_of(dead())
    assert (letter.stage, letter.exception, letter.message) == (
        "guardrail",
        "UndecodableRecord",
        "not valid JSON",
    )
    assert (letter.topic, letter.record, letter.record_ms) == (
        "llm.requests.v1",
        "llm.requests.v1:2:41",
        WRITTEN_MS,
    )
    assert letter.written_ms == DIED_MS
    assert (letter.replay, letter.key_bytes, letter.value_bytes) == (0, 3, 9)


def test_a_copy_stands_for_its_first_record() -> None:
    """A record that was replayed and died again keeps the place and the time of the first one."""
    again = replayed(record().headers, record="llm.requests.v1:0:3", timestamp_ms=5, at_ms=9)
    letter = summary_of(dead(buried(record(headers=again))))
    assert (letter.topic, letter.record, letter.record_ms) == ("llm.requests.v1", "llm.requests.v1:0:3", 5)
    assert letter.replay == 1


def test_a_copy_that_died_on_the_retry_topic_belongs_to_where_it_came_from() -> None:
    """Nobody is sent to the retry topic for a record that was put aside."""
    first = record(topic="llm.misses.v1")
    waiting = put_aside(first, not_before_ms=1, reason="redis")
    letter = summary_of(dead(buried(record(topic="llm.retries.v1", headers=waiting))))
    assert (letter.topic, letter.record) == ("llm.misses.v1", "llm.misses.v1:2:41")


@pytest.mark.parametrize(
    ("value", "headers", "key", "expected"),
    [
        (b'{"request_id": "body", "query": 7}', (("ce_id", b"ce"),), b"key", "body"),
        (b"\xff", (("ce_id", b"ce"),), b"key", "ce"),
        (b"\xff", (), b"key", "key"),
        (b"\xff", (), None, None),
        (b'{"user_id": "u", "query": "hi"}', (), None, "llm.requests.v1-2-41"),
        (b"\xff", (("kafka_correlationId", b"c"),), None, "llm.requests.v1-2-41"),
    ],
)
def test_the_request_has_the_id_that_its_sender_was_told(
    value: bytes,
    headers: tuple[tuple[str, bytes], ...],
    key: bytes | None,
    expected: str | None,
) -> None:
    """The body's id, then `ce_id`, then the key, then the record's place: as the stages do it."""
    assert summary_of(dead(buried(record(value, headers=headers, key=key)))).request_id == expected


@pytest.mark.parametrize(
    ("value", "named"), [(b'{"user_id": "u", "inputs": ["a"], "model": "m"}', True), (b"{}", False)]
)
def test_a_request_for_embeddings_has_its_place_for_an_id(value: bytes, named: bool) -> None:
    """As one for an answer, where it is one."""
    letter = summary_of(dead(buried(record(value, topic="llm.embeddings.v1", headers=(), key=None))))
    assert letter.request_id == ("llm.embeddings.v1-2-41" if named else None)


@pytest.mark.parametrize(
    ("body", "tenant"),
    [
        ({"tenant": "acme"}, "acme"),
        ({"envelope": {"tenant": "acme"}}, "acme"),
        ({"user_id": "u"}, "default"),
        ({"tenant": 7}, None),
        ([1], None),
    ],
)
def test_the_tenant_is_read_from_a_request_or_its_envelope(body: object, tenant: str | None) -> None:
    """A request that names none is of the default tenant; what cannot be read is nobody's."""
    assert summary_of(dead(buried(record(json.dumps(body).encode())))).tenant == tenant


_names = st.sampled_from(
    [
        "topic partition offset timestamp stage exception message",
        "__streams.origin.record",
        "__streams.replay.number",
        "ce_id",
    ],
).flatmap(lambda text: st.sampled_from(["__streams.errors." + each for each in text.split()] + [text]))


@settings(max_examples=60)
@given(
    headers=st.lists(st.tuples(_names | st.text(max_size=9), st.binary(max_size=40)), max_size=12),
    key=st.none() | st.binary(max_size=9),
    value=st.none() | st.binary(max_size=99),
    written_ms=st.integers(min_value=-(2**63), max_value=2**63 - 1),
)
def test_anybody_may_write_anything(
    headers: list[tuple[str, bytes]],
    key: bytes | None,
    value: bytes | None,
    written_ms: int,
) -> None:
    """No header, no value and no timestamp keeps a letter from being listed."""
    odd = Record(
        topic="llm.dead-letters.v1",
        partition=0,
        offset=0,
        timestamp_ms=written_ms,
        key=key,
        value=value,
        headers=tuple(headers),
    )
    letter = summary_of(odd)
    assert letter.died_at.tzinfo is not None
    assert letter.letter_id == LetterId(0, 0)


def test_what_a_list_keeps_of_a_letter_is_bounded() -> None:
    """Headers of megabytes cost a list no more than others."""
    huge = tuple((f"__streams.errors.{name}", b"x" * 100_000) for name in ("stage", "exception", "message"))
    letter = summary_of(dead(buried(record(b'{"request_id": "' + b"i" * 100_000 + b'"}', headers=huge))))
    assert len(letter.stage) <= 256
    odd = dead(Emit(topic="llm.dead-letters.v1", key=b"k" * 9999, value=b"?", headers=huge))
    letter = summary_of(odd)
    assert (len(letter.stage), len(letter.exception), len(letter.message)) == (256, 256, 2_000)
    assert letter.request_id is None  # an id that long is nobody's

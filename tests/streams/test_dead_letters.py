"""Dead letters keep the record and say why it is dead."""

from streams.errors import UndecodableRecord
from streams.pipeline import TOPICS
from streams.redelivery import OMITTED, dead_letter
from streams.topics import DEAD_LETTERS, record_bytes
from tests.analytics.logs import make_record


def test_the_record_is_kept_byte_for_byte() -> None:
    """Key, value and headers are those of the record; the reason comes behind them."""
    record = make_record(7, b"\xff\x00{", partition=3)
    letter = dead_letter(record, stage="analytics", fault=UndecodableRecord("not valid JSON: …"))
    assert letter.topic == "llm.dead-letters.v1"
    assert (letter.key, letter.value) == (record.key, record.value)
    assert letter.headers[: len(record.headers)] == record.headers
    assert dict(letter.headers[len(record.headers) :]) == {
        "__streams.errors.exception": b"UndecodableRecord",
        "__streams.errors.message": "not valid JSON: …".encode(),
        "__streams.errors.topic": b"llm.logs.v1",
        "__streams.errors.partition": b"3",
        "__streams.errors.offset": b"7",
        "__streams.errors.timestamp": str(record.timestamp_ms).encode(),
        "__streams.errors.stage": b"analytics",
    }


def test_a_record_that_is_too_large_to_be_kept_leaves_word_of_where_it_lies() -> None:
    """Its topic takes more than ours, or compression had hidden its size. Such a one was dropped before."""
    large = make_record(7, b"x" * DEAD_LETTERS.max_bytes, partition=3)
    letter = dead_letter(large, stage="analytics", fault=UndecodableRecord("not valid JSON"))
    assert (letter.key, letter.value) == (None, None)
    headers = dict(letter.headers)
    assert int(headers[OMITTED]) >= DEAD_LETTERS.max_bytes
    assert (headers["__streams.errors.topic"], headers["__streams.errors.offset"]) == (b"llm.logs.v1", b"7")
    assert record_bytes(letter.key, letter.value, letter.headers) < DEAD_LETTERS.max_bytes


def test_the_largest_record_of_any_topic_can_be_kept() -> None:
    """With every header that says why it is dead."""
    for topic in TOPICS.values():
        if topic is DEAD_LETTERS or topic.event is None:
            continue
        record = make_record(7, b"x" * (topic.max_bytes - record_bytes(None, None, ())), partition=3)
        letter = dead_letter(record, stage="analytics", fault=UndecodableRecord("\U0001f600" * 9_000))
        assert letter.value == record.value
        assert record_bytes(None, letter.value, letter.headers) <= DEAD_LETTERS.max_bytes


def test_a_long_reason_is_cut() -> None:
    """Headers count towards the size of a record, which the broker limits."""
    letter = dead_letter(make_record(0, None), stage="analytics", fault=UndecodableRecord("x" * 100_000))
    assert len(dict(letter.headers)["__streams.errors.message"]) == 2_000
    assert letter.value is None

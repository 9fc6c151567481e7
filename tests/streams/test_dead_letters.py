"""Dead letters keep the record and say why it is dead."""

from streams.dead_letters import dead_letter
from streams.errors import UndecodableRecord
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


def test_a_long_reason_is_cut() -> None:
    """Headers count towards the size of a record, which the broker limits."""
    letter = dead_letter(make_record(0, None), stage="analytics", fault=UndecodableRecord("x" * 100_000))
    assert len(dict(letter.headers)["__streams.errors.message"]) == 2_000
    assert letter.value is None

"""Events to bytes and back."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import codec, events
from streams.codec import decode, encode, event_headers, header, header_text, schema_version
from streams.errors import UndecodableRecord
from streams.events import ChatRequested, Event, LlmCall, Message, Reply, Status, TextPart, Usage

EVENTS = {
    name: each
    for name, each in vars(events).items()
    if isinstance(each, type) and issubclass(each, Event) and each is not Event
}
GOLDEN = [
    line.split("\t", 1)
    for line in Path(__file__).with_name("golden_records.tsv").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(("name", "record"), GOLDEN, ids=[name for name, _ in GOLDEN])
def test_the_wire_format_of_events_stays(name: str, record: str) -> None:
    """Every event, with all of its fields and with the least of them, byte for byte as it always was.

    Money keeps its last digit and times their microseconds. An event that gets a field gets new lines.
    """
    assert encode(decode(record.encode(), EVENTS[name])).decode() == record


def test_every_field_of_every_event_is_in_a_golden_record() -> None:
    """Else a renamed field would go unnoticed."""
    seen: dict[str, set[str]] = {}
    for name, record in GOLDEN:
        seen.setdefault(name, set()).update(msgspec.json.decode(record))
    assert {name: seen[name] - {each.__struct_config__.tag_field} for name, each in EVENTS.items()} == {
        name: set(each.__struct_fields__) for name, each in EVENTS.items()
    }


@settings(max_examples=40)
@given(text=st.text(), amount=st.decimals(-(10**9), 10**9, places=9), at=st.datetimes(timezones=st.just(UTC)))
def test_any_text_amount_and_time_survives_the_wire(text: str, amount: Decimal, at: datetime) -> None:
    """Down to the last digit of money and microsecond of time."""
    reply = Reply(
        request_id="r",
        status=Status.ANSWERED,
        content=text,
        cost_usd=amount,
        accepted_at=at,
        tool_calls=({"a": text},),
    )
    assert decode(encode(reply), Reply) == reply


def test_money_travels_as_a_string() -> None:
    """A JSON number would lose digits in readers that know only doubles."""
    reply = Reply(request_id="r", status=Status.ANSWERED, cost_usd=Decimal("0.000000075"))
    assert isinstance(msgspec.json.decode(encode(reply))["cost_usd"], str)
    assert decode(encode(reply), Reply).cost_usd == Decimal("0.000000075")


def test_unknown_fields_are_ignored() -> None:
    """An older reader understands a newer writer."""
    assert decode(b'{"user_id": "u", "query": "q", "added_later": 1}', ChatRequested).query == "q"


def test_text_parts_and_plain_text_are_both_content() -> None:
    """OpenAI's two shapes of content."""
    message = decode(
        b'{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}', Message
    )
    assert message.content == (TextPart(text="a"), TextPart(text="b"))
    assert message.text == "a\nb"


@pytest.mark.parametrize(
    ("data", "code", "param", "says"),
    [
        (b"\xff\xfe", "invalid_json", None, "not valid JSON"),
        (b"{", "invalid_json", None, "truncated"),
        (b"", "invalid_json", None, "truncated"),
        (b'{"user_id":"\\ud800"}', "invalid_json", None, "not valid JSON"),
        (b"[]", "invalid_request", None, "must be an object, not a list"),
        (b"{}", "missing_required_parameter", "user_id", "user_id is required"),
        (b'{"user_id":7}', "invalid_request", "user_id", "must be text, not a whole number"),
        (b'{"user_id":""}', "invalid_request", "user_id", "at least 1 characters are required, got 0"),
        (b'{"user_id":"u","temperature":3}', "invalid_request", "temperature", "must be at most 2, got 3"),
        (b'{"user_id":"u","messages":[]}', "invalid_request", "messages", "at least 1 are required, got 0"),
        (
            b'{"user_id":"u","messages":[{"role":"boss"}]}',
            "invalid_request",
            "messages[0].role",
            "boss",
        ),
        (
            b'{"user_id":"u","messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"image_url"}]}]}',
            "unsupported_parameter",
            "messages[1].content[0].type",
            "image_url",
        ),
        (
            b'{"user_id":"u","request_id":"a b"}',
            "invalid_request",
            "request_id",
            "1 to 128 of the characters",
        ),
        (
            b'{"user_id":"u","deadline_ms":21600001}',
            "invalid_request",
            "deadline_ms",
            "must be at most 21600000, got 21600001",
        ),
        (
            b'{"user_id":"u","accepted_at":"2026-01-01T00:00:00"}',
            "invalid_request",
            "accepted_at",
            "timezone",
        ),
        (
            b'{"user_id":"u","metadata":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
            "invalid_json",
            None,
            "nested too deeply",
        ),
    ],
)
def test_a_decode_error_says_where_and_what(data: bytes, code: str, param: str | None, says: str) -> None:
    """The sender reads which field is wrong and what was expected there; no library's exception escapes."""
    with pytest.raises(UndecodableRecord) as caught:
        decode(data, ChatRequested)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert says in caught.value.message


def test_a_tombstone_is_no_event() -> None:
    """A record without a value says so instead of failing inside the decoder."""
    with pytest.raises(UndecodableRecord, match="no value; expected ChatRequested"):
        decode(None, ChatRequested)


def test_a_newer_schema_is_refused_before_its_body_is_read() -> None:
    """The header alone decides: the body may have changed its meaning."""
    headers = [("ce_dataschema", b"urn:headrace:ChatRequested:2")]
    with pytest.raises(UndecodableRecord, match=r"version 2 is newer than this reader's 1") as caught:
        decode(b'{"user_id":"u"}', ChatRequested, headers)
    assert caught.value.code == "unsupported_schema_version"


@pytest.mark.parametrize("digits", [10, 5_000, 60_000])
def test_a_version_of_any_length_is_refused_like_a_newer_one(digits: int) -> None:
    """`int` refuses thousands of digits with an error that no reader of a topic expects."""
    headers = [("ce_dataschema", b"urn:headrace:ChatRequested:" + b"9" * digits)]
    with pytest.raises(UndecodableRecord) as caught:
        decode(b'{"user_id":"u"}', ChatRequested, headers)
    assert caught.value.code == "unsupported_schema_version"


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (None, 1),
        (b"urn:headrace:X:1", 1),
        (b"urn:headrace:X:12", 12),
        (b"http://elsewhere/schema", 1),
        (b"", 1),
    ],
)
def test_schema_versions(value: bytes | None, version: int) -> None:
    """Records of plain producers, and schemas of other people, count as version 1."""
    assert schema_version([("ce_dataschema", value)] if value is not None else []) == version


def test_event_headers_are_cloudevents() -> None:
    """Binary mode: the attributes are headers, the value stays the bare event."""
    event = Message(role="user", content="hi")
    at = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    found = dict(event_headers(event, event_id="r-1", source="headrace/x", at=at, traceparent="00-a-b-01"))
    assert found == {
        "ce_specversion": b"1.0",
        "ce_id": b"r-1",
        "ce_source": b"headrace/x",
        "ce_type": b"headrace.Message",
        "ce_time": b"2026-11-20T09:00:00+00:00",
        "ce_dataschema": b"urn:headrace:Message:1",
        "content-type": b"application/json",
        "traceparent": b"00-a-b-01",
    }
    assert schema_version(list(found.items())) == codec.SCHEMA_VERSION
    assert "traceparent" not in dict(event_headers(event, event_id="r", source="s"))


def test_the_last_header_of_a_name_counts() -> None:
    """Kafka allows repeated keys; text that is not UTF-8 counts as absent."""
    headers = [("a", b"1"), ("b", b"\xff"), ("a", b"2")]
    assert (header(headers, "a"), header(headers, "c")) == (b"2", None)
    assert (header_text(headers, "a"), header_text(headers, "b")) == ("2", None)


def test_usage_is_always_written_in_full() -> None:
    """Unlike other events: a reader must see a zero as a zero."""
    assert b'"cached_tokens":0' in encode(Usage(input_tokens=1))
    assert LlmCall.__struct_config__.omit_defaults is True

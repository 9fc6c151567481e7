"""Events to bytes and back."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import codec, events
from streams.codec import decode, encode, event_headers, header, header_text, schema_version
from streams.errors import UndecodableRecord
from streams.events import ChatRequested, Event, LlmCall, Message, Reply, Status, TextPart, Usage

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
st.register_type_strategy(Decimal, st.decimals(-1_000, 1_000, places=9))
st.register_type_strategy(float, st.floats(-1e6, 1e6, allow_nan=False))

EVENTS = sorted(
    (
        each
        for each in vars(events).values()
        if isinstance(each, type) and issubclass(each, Event) and each is not Event
    ),
    key=lambda each: each.__name__,
)


def values(node: Any) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911  # one case a type
    """Return values of a type, as msgspec understands it: with its bounds, and with nested events."""
    match node:
        case msgspec.inspect.StructType():
            return structs(node.cls)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*(values(each) for each in types))
        case msgspec.inspect.VarTupleType(item_type=item, min_length=least):
            return st.lists(values(item), min_size=least or 0, max_size=2).map(tuple)
        case msgspec.inspect.DictType(value_type=value):
            return st.dictionaries(st.text(max_size=4), values(value), max_size=2)
        case msgspec.inspect.StrType(pattern=pattern) if pattern:
            return st.from_regex(pattern.removesuffix("$") + r"\Z")
        case msgspec.inspect.StrType(min_length=least):
            return st.text(min_size=least or 0, max_size=12)
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(low if low is not None else -(2**53), high if high is not None else 2**53)
        case msgspec.inspect.FloatType(ge=low, le=high):
            return st.floats(low if low is not None else -1e6, high if high is not None else 1e6)
        case msgspec.inspect.LiteralType(values=choices):
            return st.sampled_from(choices)
        case msgspec.inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case msgspec.inspect.AnyType():
            return _json
        case msgspec.inspect.NoneType():
            return st.none()
    return st.from_type(_PLAIN[type(node)])


_PLAIN: dict[type, type] = {
    msgspec.inspect.BoolType: bool,
    msgspec.inspect.BytesType: bytes,
    msgspec.inspect.DateTimeType: datetime,
    msgspec.inspect.DecimalType: Decimal,
}


def structs(event: type[Any]) -> st.SearchStrategy[Any]:
    """Return instances of an event class with every field drawn."""
    info = msgspec.inspect.type_info(event)
    assert isinstance(info, msgspec.inspect.StructType)
    fields = {field.name: st.deferred(lambda t=field.type: values(t)) for field in info.fields}  # type: ignore[misc]
    return st.builds(event, **fields)


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.__name__)
@settings(
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_every_event_survives_the_wire(event: type[Event], data: st.DataObject) -> None:
    """Whatever is encoded comes back equal, down to the last digit of money and microsecond of time."""
    original = data.draw(structs(event))
    assert decode(encode(original), event) == original


def test_every_event_module_class_is_covered() -> None:
    """The property above runs over the real list of events, not over a handful."""
    assert {"ChatRequested", "OutcomeReached", "RequestLog", "LedgerEntry", "Delta"} <= {
        each.__name__ for each in EVENTS
    }


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
